package main

import (
	"strings"
	"testing"
)

func TestStrategiesAreCheckedBeforeAnythingIsSent(t *testing.T) {
	const nowhere = "aaaa@192.0.2.1:7770"
	tests := []struct {
		name string
		args []string
		says string
	}{
		{"a strategy that is none", meetArgs(t, nowhere, "a", "b", "--strategy", "low-tlt"), "did you mean low-ttl"},
		{"a strategy that an appointment cannot have", []string{"meet", "--peer", "127.0.0.1:9", "--at", "2099-01-01T00:00:00Z", "--local-port", "4000",
			"--secret-file", "/nowhere/x", "--strategy", "crafted"}, "needs a coordinator"},
		{"a strategy over UDP", meetArgs(t, nowhere, "a", "b", "--transport", "udp", "--strategy", "listen"), "strategy"},
		{"a strategy of lab run that is none", []string{"lab", "run", "--strategy", "craft"}, "did you mean crafted"},
		{"a strategy of lab matrix that is none", []string{"lab", "matrix", "--strategy", "x"}, `no strategy "x"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := <-start(t, nil, test.args...)
			if e.status != statusUsage || !strings.Contains(e.stderr, test.says) {
				t.Errorf("status %d, want 64 and %q:\n%s", e.status, test.says, e.stderr)
			}
		})
	}
}

func TestTwoStrategiesAreRefusedAndAutoTakesTheOther(t *testing.T) {
	meet := func(one, other string) [2]ended {
		at, _ := coordinator(t)
		b := start(t, nil, meetArgs(t, at, "b", "a", "--json", "--strategy", other)...)
		a := <-start(t, nil, meetArgs(t, at, "a", "b", "--json", "--strategy", one)...)
		return [2]ended{a, <-b}
	}
	for _, e := range meet("listen", "low-ttl") {
		if d := documentOf(t, e); e.status != statusRefused || !strings.Contains(d.Error.Message, "listen and low-ttl") && !strings.Contains(d.Error.Message, "low-ttl and listen") {
			t.Errorf("status %d, want 7 and both strategies: %.600s", e.status, e.stdout)
		}
	}
	for _, e := range meet("auto", "listen") {
		if e.status != statusDone || !strings.Contains(e.stdout, `"strategy":"listen"`) {
			t.Errorf("status %d, want 0 by listen: %.900s", e.status, e.stdout)
		}
	}
}
