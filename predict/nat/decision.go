package nat

import (
	"net/netip"
	"time"
)

// Protocol is what a packet carries, as far as a NAT tells it apart.
type Protocol uint8

const (
	ProtocolUnknown Protocol = iota
	TCP
	UDP
	ICMP // ICMP and ICMPv6; ports are the query identifier (RFC 5508 section 3.1)
)

var protocols = vocabulary{{"unknown", ""}, {"tcp"}, {"udp"}, {"icmp"}}

func (p Protocol) String() string                { return protocols.text(uint8(p)) }
func (p Protocol) MarshalText() ([]byte, error)  { return protocols.marshal(uint8(p)) }
func (p Protocol) MarshalJSON() ([]byte, error)  { return protocols.marshalJSON(uint8(p)) }
func (p *Protocol) UnmarshalText(b []byte) error { return unmarshal(p, protocols, b) }

// Kind is what a NAT decided.
type Kind uint8

const (
	KindUnknown      Kind = iota
	Mapped                // a mapping was made
	Reused                // a session was made on a mapping that existed
	Expired               // a session was idle for too long
	PassedOut             // a packet went out
	PassedIn              // a packet came in
	Hairpinned            // a packet from inside went back inside
	Filtered              // a packet from outside was dropped: no mapping, or not admitted by its filter
	AnsweredReset         // a packet from outside was refused with a RST
	AnsweredError         // a packet from outside was refused with an ICMP error
	Held                  // a SYN from outside waits for one from inside
	HeldAccepted          // a SYN from inside came in time: the held one is dropped without an answer
	Poisoned              // a SYN from outside took the endpoints for the NAT itself
	Occupied              // a SYN from inside met poisoned endpoints: it gets another port, or none
	CrossingAccepted      // the SYN of a simultaneous open came in
	CrossingDropped       // the SYN of a simultaneous open was dropped
	CrossingRefused       // the SYN of a simultaneous open was refused with a RST
	ResetKilled           // a RST passed, and ended the session
	ResetKept             // a RST passed, and the session stays
	ResetSwallowed        // a RST was dropped
	SYNDropped            // the first SYN after a RST was dropped
	ErrorPassed           // an ICMP error passed, and the session stays
	ErrorKilled           // an ICMP error passed, and ended the session
	ErrorDropped          // an ICMP error about nothing that is known
	SequenceDropped       // a segment did not fit its connection
	RateLimited           // a SYN exceeded the allowed rate
	QuotaExceeded         // a mapping exceeded what its inside address may have
	NoPort                // a mapping found no free port
	NoMapping             // a packet from inside that opens nothing, without a session
	HairpinDropped        // a packet from inside to the NAT's own address
	Malformed             // not a packet that could be read: fragments, unknown protocols, wrong lengths
)

var kinds = vocabulary{
	{"unknown", ""}, {"mapped"}, {"reused"}, {"expired"}, {"passed-out"}, {"passed-in"}, {"hairpinned"},
	{"filtered"}, {"answered-rst"}, {"answered-icmp"}, {"held"}, {"held-accepted"}, {"poisoned"}, {"occupied"},
	{"crossing-accepted"}, {"crossing-dropped"}, {"crossing-rst"},
	{"reset-killed"}, {"reset-kept"}, {"reset-swallowed"}, {"syn-dropped"},
	{"icmp-passed"}, {"icmp-killed"}, {"icmp-dropped"}, {"sequence-dropped"},
	{"rate-limited"}, {"quota-exceeded"}, {"no-port"}, {"no-mapping"}, {"hairpin-dropped"}, {"malformed"},
}

func (k Kind) String() string                { return kinds.text(uint8(k)) }
func (k Kind) MarshalText() ([]byte, error)  { return kinds.marshal(uint8(k)) }
func (k Kind) MarshalJSON() ([]byte, error)  { return kinds.marshalJSON(uint8(k)) }
func (k *Kind) UnmarshalText(b []byte) error { return unmarshal(k, kinds, b) }

// Decision is one thing that a NAT decided: the ground truth of a laboratory.
// A packet may cause several, in order. Endpoints that are not known are the
// zero AddrPort.
type Decision struct {
	At       time.Time      `json:"at"`
	Kind     Kind           `json:"kind"`
	Protocol Protocol       `json:"protocol"`
	Outbound bool           `json:"outbound"` // the packet came from inside
	Inside   netip.AddrPort `json:"inside"`
	Outside  netip.AddrPort `json:"outside"` // the NAT's own endpoint
	Remote   netip.AddrPort `json:"remote"`
	Flags    Flags          `json:"flags"`
	Seq      uint32         `json:"seq"`
	Ack      uint32         `json:"ack"`
	Reason   string         `json:"reason"`
}
