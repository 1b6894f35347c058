package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestMissingFlagsAreNamedAndStdoutStaysEmpty(t *testing.T) {
	for args, want := range map[string]string{
		"meet":                   "tcppunch meet: --peer is missing\nsee 'tcppunch meet --help'\n",
		"capture --interface lo": "tcppunch capture: --write is missing\nsee 'tcppunch capture --help'\n",
		"capture --write x":      "tcppunch capture: --interface is missing\nsee 'tcppunch capture --help'\n",
	} {
		var out, talk bytes.Buffer
		status := run(t.Context(), append([]string{"tcppunch"}, strings.Fields(args)...), streams{out: &out, err: &talk})
		if status != statusUsage || talk.String() != want || out.Len() != 0 {
			t.Errorf("%s: got status %d, %q and on stdout %.80q, want %q alone", args, status, talk.String(), out.String(), want)
		}
	}
}

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
