package nat

// tcpState is a state of netfilter's connection tracking. It is the middle's
// guess, not that of an end.
type tcpState uint8

const (
	tcpNone        tcpState = iota
	tcpSynSent              // a SYN
	tcpSynReceived          // a SYN-ACK
	tcpEstablished          // an ACK
	tcpFinWait              // a FIN
	tcpCloseWait            // an ACK after it
	tcpLastAck              // FINs of both ends
	tcpTimeWait             // the last ACK
	tcpClose                // a RST
	tcpSynSent2             // a SYN of the other end too
	tcpStates
	tcpInvalid // not a state: the segment does not fit
	tcpIgnore  // not a state: the segment may or may not fit, and its answer will tell
)

// segmentKind is the column by which a segment enters the table.
type segmentKind uint8

const (
	kindSYN segmentKind = iota
	kindSYNACK
	kindFIN
	kindACK
	kindRST
	kindNone
)

func (p Packet) kind() segmentKind {
	switch {
	case p.Flags.Has(RST):
		return kindRST
	case p.Flags.Has(SYN | ACK):
		return kindSYNACK
	case p.Flags.Has(SYN):
		return kindSYN
	case p.Flags.Has(FIN):
		return kindFIN
	case p.Flags.Has(ACK):
		return kindACK
	}
	return kindNone
}

// transitions are the successors of each state, in the order of the constants,
// by direction (of the end that opened, of the other) and kind of segment. They
// are facts about netfilter, as documented with its table and measured by the
// differential test of the laboratory.
var transitions = [2][6]string{{
	//          -SREFCLTX2
	kindSYN:    "SSiiiiiSS2",
	kindSYNACK: "!!R!!!!!!R",
	kindFIN:    "!!FFLLLTX!",
	kindACK:    "E!EECCTTX!",
	kindRST:    "!XXXXXXXXX",
	kindNone:   "!!!!!!!!!!",
}, {
	kindSYN:    "!2!!!!!S!2",
	kindSYNACK: "!RiiiiiiiR",
	kindFIN:    "!!FFLLLTX!",
	kindACK:    "!iRECCTTXi",
	kindRST:    "!XXXXXXXXX",
	kindNone:   "!!!!!!!!!!",
}}

func (s tcpState) after(k segmentKind, direction int) tcpState {
	switch transitions[direction][k][s] {
	case 'S':
		return tcpSynSent
	case 'R':
		return tcpSynReceived
	case 'E':
		return tcpEstablished
	case 'F':
		return tcpFinWait
	case 'C':
		return tcpCloseWait
	case 'L':
		return tcpLastAck
	case 'T':
		return tcpTimeWait
	case 'X':
		return tcpClose
	case '2':
		return tcpSynSent2
	case 'i':
		return tcpIgnore
	}
	return tcpInvalid
}
