package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestFailuresAreADocumentWhereverJSONIsAskedFor(t *testing.T) {
	for _, test := range []struct {
		environment string
		flags       []string
		want        bool
	}{
		{"", nil, false},
		{"", []string{"--json"}, true},
		{"", []string{"-json"}, true},
		{"", []string{"--json=true"}, true},
		{"", []string{"--json=1"}, true},
		{"", []string{"--json=false"}, false},
		{"1", nil, true},
		{"no", nil, false},
		{"true", []string{"--json=false"}, false},
	} {
		t.Setenv("TCPPUNCH_JSON", test.environment)
		var out, talk bytes.Buffer
		status := run(t.Context(), append(append([]string{"tcppunch", "sync"}, test.flags...), "--samples", "0"), streams{out: &out, err: &talk})
		if got := strings.HasPrefix(out.String(), `{"schema":"tcppunch.sync/1","error":`); status != statusUsage || got != test.want {
			t.Errorf("TCPPUNCH_JSON=%s, %v: got status %d and %q, want a document: %v", test.environment, test.flags, status, out.String(), test.want)
		}
	}
}
