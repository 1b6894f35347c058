package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// seenLines are observations 30 ms apart, one mapping for each server.
func seenLines(ports ...int) []byte {
	var b bytes.Buffer
	for i, port := range ports {
		fmt.Fprintf(&b, `{"at":"2026-01-02T03:04:05.%03dZ","local":"192.168.0.2:5001","server":"198.51.100.%d:3478","reflexive":"203.0.113.1:%d"}`+"\n", 30*i, i+1, port)
	}
	return b.Bytes()
}

func runPredict(t *testing.T, stdin []byte, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	status = run(t.Context(), append([]string{"tcppunch", "predict"}, args...), streams{in: bytes.NewReader(stdin), out: &out, err: &talk})
	return status, out.String(), talk.String()
}

type predictDocument struct {
	Schema   string
	Mapping  string
	Observed int
	Ports    struct {
		Model     string
		Posterior []struct {
			Model       string
			Probability float64
		}
		Parameters struct{ Delta int }
		Next       []struct {
			Port        int
			Probability float64
		}
	}
	Plans []struct {
		Peer, Method string
		Probability  float64
		A, B         struct{ SYNs int }
	}
	Error *failure
}

func TestPredictPrintsTheDocument(t *testing.T) {
	name := filepath.Join(t.TempDir(), "seen.jsonl")
	if err := os.WriteFile(name, seenLines(40000, 40002, 40005, 40006, 40008, 40012, 40013, 40015), 0o600); err != nil {
		t.Fatal(err)
	}
	status, stdout, stderr := runPredict(t, nil, "--json", "--observations", name, "--budget", "32", "--candidates", "3")
	var d predictDocument
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || status != 0 || stderr != "" {
		t.Fatalf("got status %d, stderr %q, %v in %s", status, stderr, err, stdout)
	}
	if d.Schema != "tcppunch.predict/1" || d.Observed != 8 || d.Ports.Model != "sequential" || d.Ports.Parameters.Delta != 1 || len(d.Ports.Next) != 3 {
		t.Errorf("got %s", stdout)
	}
	if len(d.Plans) != 2 || d.Plans[0].Method != "comb" || d.Plans[0].Probability < .9 || d.Plans[1].A.SYNs+d.Plans[1].B.SYNs > 32 {
		t.Errorf("got plans %+v", d.Plans)
	}
}

func TestPredictTellsPeopleTheSame(t *testing.T) {
	status, stdout, _ := runPredict(t, seenLines(40000, 40002, 40004, 40006))
	for _, want := range []string{"sequential, a step of 2", "40008", "a peer whose port is known", "by comb"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	if status != 0 {
		t.Errorf("got status %d", status)
	}
}

func TestPredictSaysWhenItIsHopeless(t *testing.T) {
	var ports []int
	rng := rand.New(rand.NewPCG(1, 1))
	for range 12 {
		ports = append(ports, 1024+rng.IntN(64512))
	}
	status, stdout, _ := runPredict(t, seenLines(ports...), "--budget", "16")
	if status != statusNo || strings.Count(stdout, "hopeless") != 2 {
		t.Errorf("got status %d and\n%s", status, stdout)
	}
}

func TestPredictNamesTheBadLine(t *testing.T) {
	good := string(seenLines(40000))
	for name, test := range map[string]struct{ text, want string }{
		"no JSON":        {good + "\nhello\n", "line 3: no observation"},
		"no time":        {`{"reflexive":"203.0.113.1:1"}`, "line 1: at is missing"},
		"no endpoint":    {good + `{"at":"2026-01-02T03:04:05Z"}`, "line 2: reflexive is missing"},
		"no port":        {`{"at":"2026-01-02T03:04:05Z","reflexive":"203.0.113.1:0"}`, "line 1: reflexive is missing, or has no port"},
		"no address":     {`{"at":"2026-01-02T03:04:05Z","reflexive":"example:1"}`, "line 1: no observation"},
		"nothing":        {"", "holds no observation"},
		"a longest line": {good + strings.Repeat("x", longestLine+1), "line 2: longer than"},
	} {
		status, stdout, stderr := runPredict(t, []byte(test.text), "--json")
		var d predictDocument
		if err := json.Unmarshal([]byte(stdout), &d); err != nil || status != statusFailed || d.Error == nil || d.Error.Kind != "observations" || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: got status %d, stderr %q, stdout %s", name, status, stderr, stdout)
		}
	}
}

func TestPredictRefusesAWrongCommandLine(t *testing.T) {
	for _, args := range [][]string{{"file"}, {"--budget", "0"}, {"--budget", "x"}, {"--gap", "-1s"}, {"--candidates", "-1"}} {
		if status, _, stderr := runPredict(t, nil, args...); status != statusUsage || stderr == "" {
			t.Errorf("%v: got status %d, stderr %q", args, status, stderr)
		}
	}
	if status, _, stderr := runPredict(t, nil, "--observations", filepath.Join(t.TempDir(), "none")); status != statusFailed || !strings.Contains(stderr, "check the path") {
		t.Errorf("missing file: got status %d, stderr %q", status, stderr)
	}
}
