package main

import (
	"bytes"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"tcppunch/predict/probe"
)

// runProbeCommand runs the command line and returns its status and streams.
func runProbeCommand(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	status = run(t.Context(), append([]string{"tcppunch", "probe"}, args...), streams{in: strings.NewReader(""), out: &out, err: &talk})
	return status, out.String(), talk.String()
}

// stunServer answers on loopback for the length of the test.
func stunServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends when the probe closes its end
				defer c.Close()
				probe.Responder{}.Serve(c)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestProbePrintsOneDocument(t *testing.T) {
	gone := closedPort(t)
	status, out, talk := runProbeCommand(t, "--json", "--brief", "--stun", stunServer(t), "--stun", gone)
	var d struct {
		Schema      string           `json:"schema"`
		Translated  *bool            `json:"translated"`
		Filtering   *string          `json:"filtering"`
		Connections int              `json:"connections"`
		Unreachable []map[string]any `json:"unreachable"`
		Peers       []map[string]any `json:"peers"`
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil || status != statusDone {
		t.Fatalf("status %d, %v\n%s%s", status, err, out, talk)
	}
	if d.Schema != "tcppunch.probe/1" || d.Translated == nil || *d.Translated || d.Filtering != nil || d.Connections == 0 || len(d.Peers) == 0 {
		t.Errorf("got %+v", d)
	}
	if len(d.Unreachable) != 1 || d.Unreachable[0]["server"] != gone || !strings.Contains(talk, gone) {
		t.Errorf("unreachable: got %v and %q, want %s named", d.Unreachable, talk, gone)
	}
}

func TestProbeShowsATableAndSentences(t *testing.T) {
	status, out, _ := runProbeCommand(t, "--brief", "--stun", stunServer(t))
	for _, want := range []string{"mapping", "filtering", "unknown: it takes a coordinator", "will connect to", "connections in"} {
		if status != statusDone || !strings.Contains(out, want) {
			t.Errorf("status %d, and %q is missing in\n%s", status, want, out)
		}
	}
}

func TestProbeNamesServersAndMistakes(t *testing.T) {
	gone := closedPort(t)
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{nil, statusUsage, "--coordinator"},
		{[]string{"--stun", "127.0.0.1:0"}, statusUsage, "port"},
		{[]string{"--stun", gone, "--local-port", "70000"}, statusUsage, "70000"},
		{[]string{"--stun", gone, "--budget", "0"}, statusUsage, "budget"},
		{[]string{"--coordinator", "nonsense"}, statusUsage, "KEY@HOST:PORT"},
		{[]string{"--brief", "--stun", gone}, statusFailed, gone},
	} {
		status, out, talk := runProbeCommand(t, c.args...)
		if status != c.status || !strings.Contains(talk, c.says) || out != "" {
			t.Errorf("%v: got status %d, %q, stdout %q; want %d and %q", c.args, status, talk, out, c.status, c.says)
		}
	}
}
