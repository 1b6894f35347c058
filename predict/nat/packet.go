package nat

import "net/netip"

// Flags are the control bits of a TCP segment (RFC 9293 section 3.1).
type Flags uint8

const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Has reports whether all of f2 are set.
func (f Flags) Has(f2 Flags) bool { return f&f2 == f2 }

// Packet is a TCP segment as far as a NAT looks at it.
type Packet struct {
	From, To netip.AddrPort
	Flags    Flags
	Seq, Ack uint32
	Len      uint32 // bytes of payload
}

// opens reports whether p asks for a connection.
func (p Packet) opens() bool { return p.Flags&(SYN|ACK|RST) == SYN }

// refuse is the RST that answers p from the endpoint p was sent to (RFC 9293
// section 3.10.7.1).
func (p Packet) refuse() Packet {
	if p.Flags.Has(ACK) {
		return Packet{From: p.To, To: p.From, Flags: RST, Seq: p.Ack}
	}
	end := p.Seq + p.Len
	if p.Flags.Has(SYN) {
		end++
	}
	if p.Flags.Has(FIN) {
		end++
	}
	return Packet{From: p.To, To: p.From, Flags: RST | ACK, Ack: end}
}

// Verdict is what becomes of a packet.
type Verdict uint8

const (
	VerdictUnknown Verdict = iota
	Forwarded              // goes on to the other side
	Refused                // a RST goes back to where the packet came from
	Rejected               // an ICMP error about the packet goes back
	Dropped                // nothing happens
)

var verdicts = vocabulary{{"unknown", ""}, {"forwarded"}, {"refused"}, {"rejected"}, {"dropped"}}

func (v Verdict) String() string                { return verdicts.text(uint8(v)) }
func (v Verdict) MarshalText() ([]byte, error)  { return verdicts.marshal(uint8(v)) }
func (v Verdict) MarshalJSON() ([]byte, error)  { return verdicts.marshalJSON(uint8(v)) }
func (v *Verdict) UnmarshalText(b []byte) error { return unmarshal(v, verdicts, b) }

// Action is what the translator does with one packet.
type Action struct {
	Verdict Verdict `json:"verdict"`
	Packet  Packet  `json:"packet"` // Forwarded: as translated; Refused: the RST; Rejected: the packet to quote
	Reason  string  `json:"reason"` // for the decision log
}
