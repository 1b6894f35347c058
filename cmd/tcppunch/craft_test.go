package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcppunch/rawsock"
)

func TestCraftRefusesWrongUsage(t *testing.T) {
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"", statusUsage, "command"},
		{"synack --to 127.0.0.1:7000", statusUsage, "'syn-ack'"},
		{"syn", statusUsage, "--to"},
		{"syn --to 127.0.0.1", statusUsage, "HOST:PORT"},
		{"syn --to 224.0.0.1:7000", statusRefused, "no address of a single host"},
		{"syn --to 255.255.255.255:7000", statusRefused, "no address of a single host"},
		{"syn --to 127.0.0.1:7000 --flags rst", statusUsage, "segment"},
		{"segment --to 127.0.0.1:7000", statusUsage, "--flags"},
		{"segment --to 127.0.0.1:7000 --flags syn,sin", statusUsage, "sin"},
		{"syn --to 127.0.0.1:7000 --from ::1", statusUsage, "family"},
		{"syn --to 127.0.0.1:7000 --from-port 65536", statusUsage, "--from-port"},
		{"syn --to 127.0.0.1:7000 --from-port 65535 --count 2", statusUsage, "65535"},
		{"syn --to 127.0.0.1:7000 --seq 4294967296", statusUsage, "--seq"},
		{"syn --to 127.0.0.1:7000 --window 65536", statusUsage, "--window"},
		{"syn --to 127.0.0.1:7000 --ttl 0", statusUsage, "--ttl"},
		{"syn --to 127.0.0.1:7000 --options mss=x", statusUsage, "mss=x"},
		{"syn --to 127.0.0.1:7000 --payload hex:0", statusUsage, "hexadecimal"},
		{"syn --to 127.0.0.1:7000 --count 1001", statusUsage, "1000"},
		{"syn --to 127.0.0.1:7000 --spacing 1us", statusUsage, "1ms"},
		{"syn --to 127.0.0.1:7000 --timeout -1s", statusUsage, "--timeout"},
		{"syn --to 127.0.0.1:7000 --at 1", statusUsage, "past"},
		{"syn --to 127.0.0.1:7000 more", statusUsage, "argument"},
	} {
		var out, talk bytes.Buffer
		status := run(t.Context(), append([]string{"tcppunch", "craft"}, strings.Fields(test.args)...), streams{out: &out, err: &talk})
		if status != test.status || !strings.Contains(talk.String(), test.want) {
			t.Errorf("craft %s: got status %d, %q, want %d naming %q", test.args, status, talk.String(), test.status, test.want)
		}
	}
}

func TestCraftFailuresHaveTheirStatus(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		hint   string
	}{
		{fmt.Errorf("open sender: %w", &rawsock.PrivilegeError{Capability: "CAP_NET_RAW", Err: syscall.EPERM}), statusUnavailable, "sudo setcap cap_net_raw+ep "},
		{fmt.Errorf("adopt: %w", &rawsock.PrivilegeError{Capability: "CAP_NET_ADMIN", Err: syscall.EPERM}), statusUnavailable, "sudo setcap cap_net_admin,cap_net_raw+ep "},
		{fmt.Errorf("open sender: %w", syscall.EADDRNOTAVAIL), statusRefused, "--from"},
		{fmt.Errorf("guard: %w", errors.Join(rawsock.ErrPortInUse, syscall.EADDRNOTAVAIL)), statusFailed, ""},
	} {
		if got := classify(t.Context(), test.err); got.Status != test.status || !strings.Contains(got.Hint, test.hint) {
			t.Errorf("%v: got status %d, hint %q, want %d, hint %q", test.err, got.Status, got.Hint, test.status, test.hint)
		}
	}
}

// TestCraftPutsRepliesUnderTheirSegments takes what a tap would show: segments
// on their way out, and answers in any order.
func TestCraftPutsRepliesUnderTheirSegments(t *testing.T) {
	a, b, router := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:80"), netip.MustParseAddr("192.0.2.254")
	next := netip.AddrPortFrom(a.Addr(), 1001)
	syn := func(from netip.AddrPort, seq uint32) rawsock.Segment {
		return rawsock.Segment{From: from, To: b, Flags: rawsock.SYN, Seq: seq}
	}
	p := &craftPlan{kind: "syn", segments: []rawsock.Segment{syn(a, 5), syn(next, 5), syn(next, 5), syn(next, 9)}}
	dawn := time.Unix(1_000_000, 0)
	seen := func(ms int, s rawsock.Segment, e *rawsock.ICMPError) craftCatch {
		return craftCatch{at: dawn.Add(time.Duration(ms) * time.Millisecond), reply: rawsock.Reply{Segment: s, ICMP: e}}
	}
	d := explainCraft(p, make([]rawsock.Fired, 4), []craftCatch{
		seen(1, p.segments[0], nil),
		seen(2, p.segments[1], nil),
		seen(3, rawsock.Segment{From: b, To: a, Flags: rawsock.SYN | rawsock.ACK, Seq: 77, Ack: 6}, nil),
		seen(4, rawsock.Segment{From: a, To: b, Flags: rawsock.RST, Seq: 6}, nil), // of this host's kernel
		seen(5, p.segments[2], nil),
		seen(6, rawsock.Segment{From: next, To: b, Seq: 5}, &rawsock.ICMPError{From: router, Type: 11}),
		seen(7, rawsock.Segment{From: b, To: netip.AddrPortFrom(a.Addr(), 2222), Flags: rawsock.RST}, nil),
	}, dawn)
	ms := func(n int64) *int64 { return new(n * 1_000_000) }
	for i, want := range []struct {
		wire, after *int64
		kind        string
	}{{ms(1), ms(2), "syn-ack"}, {ms(2), nil, ""}, {ms(5), ms(1), "icmp"}, {nil, nil, ""}} {
		got := d.Sent[i]
		if !sameTime(got.WireNS, want.wire) || len(got.Replies) > 1 || (len(got.Replies) == 1) != (want.kind != "") {
			t.Errorf("segment %d: got %+v, want it at %v with %q", i, got, want.wire, want.kind)
			continue
		}
		if want.kind != "" && (got.Replies[0].Kind != want.kind || !sameTime(got.Replies[0].AfterNS, want.after) || got.Replies[0].Fit != rawsock.FitExact) {
			t.Errorf("segment %d: got the reply %+v, want %s", i, got.Replies[0], want.kind)
		}
	}
	if d.Answered != 2 || len(d.Unmatched) != 1 || !sameTime(d.LaunchErrorNS, ms(1)) {
		t.Errorf("got %d answered, %d unmatched, launch error %v", d.Answered, len(d.Unmatched), d.LaunchErrorNS)
	}
	var text strings.Builder
	if err := writeCraft(&text, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"on the wire at 1ms", "syn-ack seq 77 ack 6", "time exceeded (11/0) from 192.0.2.254  after 1ms", "nothing came back", "not seen on the wire", "to none of these", "2 of 4 answered"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the text has no %q:\n%s", want, text.String())
		}
	}
}

func sameTime(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }
