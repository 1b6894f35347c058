package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
)

// crafted runs the command in a namespace.
func crafted(t *testing.T, n *netlab.Namespace, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	err := n.Do(func() error {
		status = run(t.Context(), append([]string{"tcppunch", "craft"}, args...), streams{out: &out, err: &talk})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return status, out.String(), talk.String()
}

// listening is loopback with port 7000 open.
func listening(t *testing.T) *netlab.Namespace {
	t.Helper()
	n := loopback(t)
	if n == nil {
		return nil
	}
	if err := n.Do(func() error {
		listener, err := net.Listen("tcp", "127.0.0.1:7000")
		if err == nil {
			t.Cleanup(func() { listener.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCraftShowsWhatComesBack(t *testing.T) {
	n := listening(t)
	if n == nil {
		return
	}
	for _, test := range []struct {
		args, reply string
		status      int
	}{
		{"syn --to 127.0.0.1:7000 --seq 41", "syn-ack", statusDone},
		{"syn --to 127.0.0.1:7000 --seq 4294967295 --guard --at +20ms", "syn-ack", statusDone},
		{"syn --to 127.0.0.1:7001", "rst-ack", statusDone},
		{"syn-ack --to 127.0.0.1:7001 --ack 7", "rst", statusDone},
		{"syn --to [::1]:7001 --count 40 --spacing 1ms", "rst-ack", statusDone},
		{"segment --flags fin,psh --payload hex:0001 --to [::1]:7001 --count 3 --same-port", "rst-ack", statusDone},
		{"rst --to 127.0.0.1:7001 --timeout 20ms", "", statusNo},
		{"rst --to 127.0.0.1:7001 --timeout 0s", "", statusDone},
		{"syn --to 127.255.255.255:7001 --count 2", "", statusFailed},
		{"syn --to 127.0.0.1:7001 --from 224.0.0.5 --from-port 4000", "", statusRefused},
		{"syn --to 127.0.0.1:7001 --from 0.0.0.0", "", statusRefused},
	} {
		status, stdout, stderr := crafted(t, n, append(strings.Fields(test.args), "--json")...)
		var d craftDocument
		var schema struct{ Schema string }
		if err := json.Unmarshal([]byte(stdout), &schema); err != nil || schema.Schema != "tcppunch.craft/1" {
			t.Fatalf("craft %s: got %s, %v, stderr %s", test.args, stdout, err, stderr)
		}
		if status != test.status {
			t.Errorf("craft %s: got status %d, want %d: %s", test.args, status, test.status, stdout)
		}
		json.Unmarshal([]byte(stdout), &d)
		checkCrafted(t, test.args, d, test.reply)
	}
}

// checkCrafted wants each segment to be seen on the wire, and each to have an
// answer of a kind that fits it exactly, if any is wanted.
func checkCrafted(t *testing.T, args string, d craftDocument, reply string) {
	t.Helper()
	for i, sent := range d.Sent {
		if sent.WireNS == nil && sent.Error == nil && !strings.Contains(args, "--timeout 0s") {
			t.Errorf("craft %s: segment %d was not seen on the wire", args, i)
		}
		switch {
		case reply == "" && len(sent.Replies) == 0:
		case len(sent.Replies) == 0:
			t.Errorf("craft %s: segment %d has no reply", args, i)
		case sent.Replies[0].Kind != reply || sent.Replies[0].Fit.String() != "exact" || sent.Replies[0].AfterNS == nil:
			t.Errorf("craft %s: segment %d got %+v, want an exact %s", args, i, sent.Replies[0], reply)
		}
	}
}

// TestGuardedSYNsLeaveNothingHalfOpen: the peer answers, nobody answers that, and
// in the end it is reset, whatever came with the SYN.
func TestGuardedSYNsLeaveNothingHalfOpen(t *testing.T) {
	n := listening(t)
	if n == nil {
		return
	}
	for _, args := range []string{"--count 3", "--payload hello", "--payload hello --same-port --count 2"} {
		status, stdout, stderr := crafted(t, n, strings.Fields("syn --to 127.0.0.1:7000 --guard "+args)...)
		if status != statusDone || !strings.Contains(stdout, "syn-ack") {
			t.Fatalf("%s: got status %d, %s%s", args, status, stdout, stderr)
		}
		left := halfOpen(t, n)
		for limit := time.Now().Add(time.Second); left != 0 && time.Now().Before(limit); left = halfOpen(t, n) {
			time.Sleep(10 * time.Millisecond) // the resets may be on their way
		}
		if left != 0 {
			t.Errorf("%s: %d half-open connections stayed at the peer", args, left)
		}
	}
}

// halfOpen counts the connections in SYN-RECEIVED (03 in proc(5)).
func halfOpen(t *testing.T, n *netlab.Namespace) (count int) {
	t.Helper()
	var table []byte
	if err := n.Do(func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/tcp")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[3] == "03" {
			count++
		}
	}
	return count
}
