package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"tcppunch/rawsock"
)

func TestCaptureRefusesWrongUsage(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"--write x", "interface"},
		{"--interface lo", "write"},
		{"--interface lo --write x --host example.org", "--host"},
		{"--interface lo --write x --port 65536", "--port"},
		{"--interface lo --write x --port 0", "--port"},
		{"--interface lo --write x --snaplen 0", "--snaplen"},
		{"--interface lo --write x --duration -1s", "--duration"},
		{"--interface lo --write - --json", "stdout"},
		{"--interface lo --write x --cuont 3", "--count"},
		{"--interface lo --write x more", "argument"},
	} {
		var out, talk bytes.Buffer
		status := run(t.Context(), append([]string{"tcppunch", "capture"}, strings.Fields(test.args)...), streams{out: &out, err: &talk})
		if status != statusUsage || !strings.Contains(talk.String(), test.want) {
			t.Errorf("capture %s: got status %d, %q, want %d naming %q", test.args, status, talk.String(), statusUsage, test.want)
		}
	}
}

func TestCaptureFailuresHaveTheirStatus(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
		hint string
	}{
		{fmt.Errorf("open tap: %w", &rawsock.PrivilegeError{Capability: "CAP_NET_RAW", Err: os.ErrPermission}), statusUnavailable, "setcap cap_net_raw+ep /"},
		{fmt.Errorf("open tap: %w", errors.ErrUnsupported), statusUnavailable, "analyze"},
		{fmt.Errorf("open tap: %w", rawsock.ErrNoInterface), statusFailed, "--interface"},
		{errors.New("open tap: no memory"), statusFailed, ""},
	} {
		if got := classify(t.Context(), tapFailure(test.err)); got.Status != test.want || !strings.Contains(got.Hint, test.hint) {
			t.Errorf("%v: got status %d, hint %q, want %d, hint %q", test.err, got.Status, got.Hint, test.want, test.hint)
		}
	}
}
