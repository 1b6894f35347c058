package rawsock

import (
	"net/netip"
	"testing"
)

// TestASYNWithDataIsAnsweredByWhatAcknowledgesItsSYN: a peer may keep the data for
// later, or not at all.
func TestASYNWithDataIsAnsweredByWhatAcknowledgesItsSYN(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1000"), netip.MustParseAddrPort("192.0.2.2:80")
	for _, test := range []struct {
		flags Flags
		ack   uint32
		want  Fit
	}{
		{SYN, 7, FitFlow},
		{SYN, 8, FitExact},  // the SYN alone
		{SYN, 10, FitFlow},  // no peer takes a part of what fits its window
		{SYN, 13, FitExact}, // the data too, as TCP Fast Open has it
		{ACK, 8, FitFlow},
		{ACK, 12, FitExact},
	} {
		sent := Segment{From: a, To: b, Flags: test.flags, Seq: 7, Payload: []byte("hello")}
		got := Reply{Segment: Segment{From: b, To: a, Flags: SYN | ACK, Ack: test.ack}}.Fits(sent)
		if got != test.want {
			t.Errorf("%s of 5 bytes from 7 on, acknowledged with %d: got %v, want %v", sent.Kind(), test.ack, got, test.want)
		}
	}
}
