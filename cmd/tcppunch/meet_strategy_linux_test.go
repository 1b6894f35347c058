package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestCraftingWithoutThePrivilege: before the coordinator is told a name, so
// that nothing is left half open anywhere.
func TestCraftingWithoutThePrivilege(t *testing.T) {
	var without []string // what an ordinary user lacks anyway
	if os.Geteuid() == 0 {
		setpriv, err := exec.LookPath("setpriv")
		if err != nil {
			t.Skip("the program setpriv is not installed")
		}
		without = []string{setpriv, "--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin"}
	}
	at, _ := coordinator(t)
	for _, strategy := range []string{"crafted", "fake-syn"} {
		c := command(t, meetArgs(t, at, "a", "b", "--strategy", strategy)...)
		c.Args = slices.Concat(without, []string{c.Path}, c.Args[1:])
		c.Path = c.Args[0]
		out, _ := c.CombinedOutput()
		if got := c.ProcessState.ExitCode(); got != statusUnavailable || !strings.Contains(string(out), "sudo setcap cap_net_admin,cap_net_raw+ep ") || strings.Contains(string(out), "waiting for") {
			t.Errorf("%s: status %d, want 77 and the command that grants it:\n%s", strategy, got, out)
		}
	}
}
