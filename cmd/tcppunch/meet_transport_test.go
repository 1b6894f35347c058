package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTwoPeersMeetOverUDP(t *testing.T) {
	at, _ := coordinator(t)
	b := start(t, nil, meetArgs(t, at, "b", "a", "--json", "--transport", "udp")...)
	a := <-start(t, nil, meetArgs(t, at, "a", "b", "--json", "--transport", "udp")...)
	for _, e := range []ended{a, <-b} {
		var d struct {
			Transport string
			Verdict   *string
			Rounds    []struct{ Strategy, Outcome string }
		}
		if err := json.Unmarshal([]byte(e.stdout), &d); err != nil {
			t.Fatalf("%v: %s%s", err, e.stdout, e.stderr)
		}
		if r := documentOf(t, e); e.status != statusDone || !r.Established || r.PeerTrust != "first-use" {
			t.Errorf("status %d: %.600s%.600s", e.status, e.stdout, e.stderr)
		}
		if d.Transport != "udp" || d.Verdict != nil || len(d.Rounds) != 1 || d.Rounds[0].Strategy != "datagrams" || d.Rounds[0].Outcome != "established" {
			t.Errorf("got %+v, want a round of datagrams over udp without a verdict", d)
		}
	}
}

func TestPeersOverTCPAndUDPRefuse(t *testing.T) {
	at, _ := coordinator(t)
	b := start(t, nil, meetArgs(t, at, "b", "a", "--json")...)
	a := <-start(t, nil, meetArgs(t, at, "a", "b", "--json", "--transport", "udp")...)
	for _, e := range []ended{a, <-b} {
		if d := documentOf(t, e); e.status != statusRefused || d.Cause != "refused" || !strings.Contains(d.Error.Message, "--transport") {
			t.Errorf("status %d: %.600s%.600s", e.status, e.stdout, e.stderr)
		}
	}
}

func TestUDPHandsOutNothing(t *testing.T) {
	at, _ := coordinator(t)
	udp := func(more ...string) []string {
		return meetArgs(t, at, "a", "b", append([]string{"--json", "--transport", "udp"}, more...)...)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{udp("--capture", "x.pcapng"), "--capture"},
		{udp("--strategy", "simopen"), "--strategy"},
		{meetArgs(t, at, "a", "b", "--transport", "udp", "--pipe"), "--pipe"},
		{meetArgs(t, at, "a", "b", "--transport", "sctp"), "no transport"},
		{[]string{"meet", "--peer", "127.0.0.1:9", "--at", "2099-01-01T00:00:00Z", "--transport", "udp"}, "needs a coordinator"},
		{[]string{"lab", "run", "--transport", "sctp"}, "no transport"},
		{[]string{"lab", "matrix", "--transport", "udp", "--strategy", "simopen"}, "--strategy"},
	} {
		if e := <-start(t, nil, c.args...); e.status != statusUsage || !strings.Contains(e.stdout+e.stderr, c.says) {
			t.Errorf("%q: status %d, want %d and a word about %q: %s%s", c.args, e.status, statusUsage, c.says, e.stdout, e.stderr)
		}
	}
}
