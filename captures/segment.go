package captures

import (
	"net/netip"
	"time"
)

// Kind is what a segment does in the opening of a connection.
type Kind uint8

// The kinds of segments, and of the ICMP errors that quote one.
const (
	KindUnknown Kind = iota // no sensible combination of flags
	KindSyn
	KindSynAck
	KindAck // without payload
	KindRst
	KindRstAck
	KindFin
	KindData
	KindICMPUnreachable
	KindICMPTimeExceeded
	KindICMPTooBig
	KindICMPParameter
)

var kindNames = []string{"unknown", "syn", "syn-ack", "ack", "rst", "rst-ack", "fin", "data",
	"icmp-unreachable", "icmp-time-exceeded", "icmp-too-big", "icmp-parameter-problem"}

// String is the kind's name in lower case.
func (k Kind) String() string { return nameOf(kindNames, k) }

// MarshalText writes what String returns.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (k *Kind) UnmarshalText(text []byte) error { return parseName(kindNames, k, text) }

// IsICMP reports whether the kind is an ICMP error rather than a segment.
func (k Kind) IsICMP() bool { return k >= KindICMPUnreachable }

func (k Kind) isRst() bool { return k == KindRst || k == KindRstAck }
func (k Kind) isSyn() bool { return k == KindSyn || k == KindSynAck }

// acknowledges reports whether a segment of this kind is sent by an end that
// has left SYN-SENT and SYN-RECEIVED behind, as far as it knows.
func (k Kind) acknowledges() bool { return k == KindAck || k == KindData || k == KindFin }

// Options are the TCP options that matter for an opening. The Has fields tell
// an absent option from a zero one.
type Options struct {
	MSS            uint16
	WindowScale    uint8
	HasWindowScale bool
	SACKPermitted  bool
	HasTimestamps  bool
	TSval          uint32
	TSecr          uint32
	// Layout is the kinds of all options in their order, four bits each from the
	// lowest on; 15 stands for all kinds above 14. It tells stacks apart.
	Layout uint64
}

// Segment is one TCP segment, or one ICMP error about a segment, as it was
// seen. It is comparable.
type Segment struct {
	File      int // index of the file
	Packet    int // number in the file, from 1, as tshark counts
	Interface int // of the capture; with Linux cooked captures the place in the kernel
	Time      time.Time

	// From and To are the ends. Of an ICMP error they are the ends of the
	// segment that it quotes, whose sequence number is Seq; Reporter sent it.
	From, To netip.AddrPort
	Reporter netip.Addr
	ICMPType uint8
	ICMPCode uint8
	Kind     Kind
	Seq, Ack uint32
	Window   uint16
	TTL      uint8 // or IPv6 hop limit, where it was seen
	// ID and DontFragment are of the IPv4 header; of an ICMP error ID is that of
	// the packet that it quotes, and QuotedTTL the TTL that packet had left.
	ID           uint16
	DontFragment bool
	QuotedTTL    uint8
	PayloadLen   int // bytes, by the IP header
	Options      Options
}
