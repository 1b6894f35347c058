package rawsock

import (
	"errors"
	"net/netip"
	"testing"
)

// TestHandshakeFollowsRFC9293 tells one end's answers to what arrives in
// SYN-SENT, and in SYN-RECEIVED where the peer's SYN has arrived or was told.
func TestHandshakeFollowsRFC9293(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:2000")
	router := netip.MustParseAddr("192.0.2.254")
	syn := Segment{From: a, To: b, Flags: SYN, Seq: 100, Options: TCPOptions(nil).MSS(1460).WindowScale(7)}
	peerSYN := Segment{From: b, To: a, Flags: SYN, Seq: 900, Options: TCPOptions(nil).MSS(1400)}
	from := func(f Flags, seq, ack uint32) Reply {
		return Reply{Segment: Segment{From: b, To: a, Flags: f, Seq: seq, Ack: ack}}
	}
	icmp := func(kind, code uint8, seq uint32) Reply {
		return Reply{Segment: Segment{From: a, To: b, Seq: seq}, ICMP: &ICMPError{From: router, Type: kind, Code: code}}
	}
	stranger := from(SYN|ACK, 900, 101)
	stranger.Segment.From = netip.AddrPortFrom(router, 2000)
	for _, c := range []struct {
		name     string
		received bool // in SYN-RECEIVED
		heard    Reply
		answer   string // kind; "" for none
		seq, ack uint32 // of the answer
		over     bool
		err      error
	}{
		{name: "SYN-ACK", heard: from(SYN|ACK, 900, 101), answer: "ack", seq: 101, ack: 901, over: true},
		{name: "SYN-ACK of another SYN", heard: from(SYN|ACK, 900, 102)},
		{name: "SYN", heard: Reply{Segment: peerSYN}, answer: "syn-ack", seq: 100, ack: 901},
		{name: "ACK without a SYN", heard: from(ACK, 901, 101)},
		{name: "RST-ACK", heard: from(RST|ACK, 0, 101), over: true, err: ErrRefused},
		{name: "RST-ACK of another SYN", heard: from(RST|ACK, 0, 100)},
		{name: "RST without an ACK", heard: from(RST, 901, 0)},
		{name: "stranger", heard: stranger},
		{name: "host unreachable", heard: icmp(3, 1, 100), over: true, err: ErrUnreachable},
		{name: "host unreachable about another SYN", heard: icmp(3, 1, 99)},
		{name: "time exceeded", heard: icmp(11, 0, 100)},
		{name: "fragmentation needed", heard: icmp(3, 4, 100)},
		{name: "ACK", received: true, heard: from(ACK, 901, 101), answer: "ack", seq: 101, ack: 901, over: true},
		{name: "SYN-ACK of the other end", received: true, heard: from(SYN|ACK, 900, 101), answer: "ack", seq: 101, ack: 901, over: true},
		{name: "SYN-ACK whose ISN a NAT has changed", received: true, heard: from(SYN|ACK, 7000, 101), answer: "ack", seq: 101, ack: 7001, over: true},
		{name: "the SYN again", received: true, heard: Reply{Segment: peerSYN}, answer: "syn-ack", seq: 100, ack: 901},
		{name: "a new SYN", received: true, heard: from(SYN, 5000, 0), answer: "syn-ack", seq: 100, ack: 5001},
		{name: "old ACK", received: true, heard: from(ACK, 901, 100)},
		{name: "RST", received: true, heard: from(RST, 901, 0), over: true, err: ErrRefused},
		{name: "RST outside the window", received: true, heard: from(RST, 900, 0)},
	} {
		h := handshake{syn: syn}
		if c.received {
			h.learn(peerSYN)
		}
		answer, over, err := h.heard(c.heard)
		if over != c.over || !errors.Is(err, c.err) {
			t.Errorf("%s: got over %v, %v, want %v, %v", c.name, over, err, c.over, c.err)
		}
		switch {
		case answer == nil && c.answer != "", answer != nil && c.answer == "":
			t.Errorf("%s: got the answer %+v, want %q", c.name, answer, c.answer)
		case answer != nil && (answer.Kind() != c.answer || answer.Seq != c.seq || answer.Ack != c.ack):
			t.Errorf("%s: got %s %d %d, want %s %d %d", c.name, answer.Kind(), answer.Seq, answer.Ack, c.answer, c.seq, c.ack)
		}
	}
}

func TestSYNACKOffersOnlyWhatThePeerOffered(t *testing.T) {
	own := TCPOptions(nil).MSS(1460).SACKPermitted().Timestamps(5, 0).NOP().WindowScale(7)
	for _, c := range []struct{ peer, want TCPOptions }{
		{nil, TCPOptions(nil).MSS(1460)},
		{own, TCPOptions(nil).MSS(1460).SACKPermitted().Timestamps(5, 5).NOP().WindowScale(7)},
		{TCPOptions(nil).Timestamps(9, 0).WindowScale(3), TCPOptions(nil).MSS(1460).Timestamps(5, 9).NOP().WindowScale(7)},
	} {
		if got := agree(own, c.peer).answer(); got.String() != c.want.String() {
			t.Errorf("to %v: got %v, want %v", c.peer, got, c.want)
		}
	}
}
