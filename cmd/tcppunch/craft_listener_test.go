package main

import (
	"net/netip"
	"testing"

	"tcppunch/rawsock"
)

// TestAnAnswerCountsForOneOfEqualSegments: on a long path the first answer comes
// when all have left, and the others are still to come.
func TestAnAnswerCountsForOneOfEqualSegments(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:80")
	syn := rawsock.Segment{From: a, To: b, Flags: rawsock.SYN, Seq: 5}
	l := newCraftListener(nil, []rawsock.Segment{syn, syn})
	answer := craftCatch{reply: rawsock.Reply{Segment: rawsock.Segment{From: b, To: a, Flags: rawsock.SYN | rawsock.ACK, Ack: 6}}}
	l.keep(answer)
	if closed(l.complete) {
		t.Error("one answer to two equal segments: got complete, want one more")
	}
	l.keep(answer)
	if !closed(l.complete) {
		t.Error("two answers to two equal segments: got incomplete")
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
