package netlabtest

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestRestrictionNamesTheSettingThatDenies(t *testing.T) {
	const apparmor = "proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	for _, x := range []struct {
		name, file, value, want string
	}{
		{"Ubuntu 24.04", apparmor, "1\n", "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"Ubuntu mended", apparmor, "0\n", ""},
		{"old Debian", "proc/sys/kernel/unprivileged_userns_clone", "0\n", "kernel.unprivileged_userns_clone=1"},
		{"none at all", "proc/sys/user/max_user_namespaces", "0\n", "user.max_user_namespaces=10000"},
		{"open", "proc/sys/user/max_user_namespaces", "96365\n", ""},
	} {
		system := fstest.MapFS{x.file: {Data: []byte(x.value)}}
		got := restriction(func(name string) ([]byte, error) {
			return system.ReadFile(strings.TrimPrefix(name, "/"))
		})
		if x.want == "" && got != "" || !strings.HasSuffix(got, x.want) {
			t.Errorf("%s: got %q, want it to end in %q", x.name, got, x.want)
		}
	}
}

func TestRefusalTellsTheError(t *testing.T) {
	if got := refusal(os.ErrPermission); !strings.Contains(got, os.ErrPermission.Error()) {
		t.Errorf("got %q, want it to contain %q", got, os.ErrPermission)
	}
}
