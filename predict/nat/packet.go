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
	URG
)

// Has reports whether all of f2 are set.
func (f Flags) Has(f2 Flags) bool { return f&f2 == f2 }

// Packet is a packet as far as a NAT looks at it.
type Packet struct {
	Protocol Protocol // zero means TCP
	// Endpoints. The port of an ICMP query's sender is its identifier, that of
	// the other end is 0 (RFC 5508 section 3.1).
	From, To netip.AddrPort

	// The rest is TCP's.
	Flags    Flags
	Seq, Ack uint32
	Len      uint32 // bytes of payload
	Window   uint16
	Options  Options
}

// Options are the TCP options that window tracking needs.
type Options struct {
	Scaled        bool   // a SYN offers window scaling (RFC 7323 section 2.2)
	Scale         uint8  // by this shift
	SACKPermitted bool   // a SYN allows selective acknowledgments (RFC 2018 section 2)
	SACK          bool   // there are selective acknowledgments
	Edge          uint32 // the highest right edge of them
}

// opens reports whether p asks for a connection.
func (p Packet) opens() bool { return p.Protocol == TCP && p.Flags&(SYN|ACK|RST) == SYN }

func (p Packet) resets() bool { return p.Protocol == TCP && p.Flags.Has(RST) }

// end is the sequence number after p.
func (p Packet) end() uint32 {
	end := p.Seq + p.Len
	if p.Flags.Has(SYN) {
		end++
	}
	if p.Flags.Has(FIN) {
		end++
	}
	return end
}

// refuse is the RST that answers p from the endpoint p was sent to (RFC 9293
// section 3.10.7.1).
func (p Packet) refuse() Packet {
	rst := Packet{Protocol: TCP, From: p.To, To: p.From, Flags: RST, Seq: p.Ack}
	if !p.Flags.Has(ACK) {
		rst.Flags, rst.Seq, rst.Ack = RST|ACK, 0, p.end()
	}
	return rst
}

// Verdict is what becomes of a packet.
type Verdict uint8

const (
	VerdictUnknown Verdict = iota
	Forwarded              // goes on to the other side, or, hairpinned, back inside
	Refused                // a RST goes back to where the packet came from: Action.Packet
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
	Packet  Packet  `json:"packet"` // Forwarded: as translated; Refused: the RST; otherwise as it came
	Inside  bool    `json:"inside"` // what is sent goes inside
	Kind    Kind    `json:"kind"`
	Reason  string  `json:"reason"`

	quote []byte // Rejected after a while: the packet
}
