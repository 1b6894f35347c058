package main

import (
	"net/netip"
	"testing"
	"time"

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

// TestOtherTrafficOfThePeerDoesNotDrownTheAnswers: a download from the same host
// may go on since long before the first segment leaves.
func TestOtherTrafficOfThePeerDoesNotDrownTheAnswers(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:80")
	syn := rawsock.Segment{From: a, To: b, Flags: rawsock.SYN, Seq: 5}
	answer := rawsock.Segment{From: b, To: a, Flags: rawsock.SYN | rawsock.ACK, Ack: 6}
	other := rawsock.Segment{From: netip.AddrPortFrom(b.Addr(), 443), To: netip.AddrPortFrom(a.Addr(), 2000), Flags: rawsock.ACK}
	l := newCraftListener(nil, []rawsock.Segment{syn})
	hear := func(s rawsock.Segment, n int) {
		for range n {
			s.Seq++
			packet, err := s.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			l.hear(1, packet, time.Time{})
		}
	}
	const many = craftMaxCatches + 1
	hear(other, many)
	syn.Seq--
	hear(syn, 1)
	hear(other, many)
	hear(answer, 1)
	if !closed(l.complete) {
		t.Error("the answer after much other traffic was not heard")
	}
	if got := len(l.catches); got != 2+craftMaxStrays {
		t.Errorf("got %d packets, want the segment, its answer, and %d of the others", got, craftMaxStrays)
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
