package nat

import (
	"encoding/binary"
	"net/netip"
)

// Protocol numbers of IANA.
const (
	numberICMP   = 1
	numberTCP    = 6
	numberUDP    = 17
	numberICMPv6 = 58
)

const (
	size4, size6 = 20, 40 // IP headers without options
	sizeTCP      = 20
	sizeICMP     = 8
)

// A datagram is an IP packet cut into its parts, which share its memory.
type datagram struct {
	v6       bool
	number   byte   // of the transport protocol
	ip       []byte // the header with its options
	segment  []byte // what follows
	from, to netip.Addr
}

// cut reads an IP packet. A quoted one may end early. The second result says
// what is wrong with it; it is empty for a packet that a NAT can handle.
func cut(p []byte, quoted bool) (datagram, string) {
	if len(p) == 0 {
		return datagram{}, "empty"
	}
	switch p[0] >> 4 {
	case 4:
		return cut4(p, quoted)
	case 6:
		return cut6(p, quoted)
	}
	return datagram{}, "not IP"
}

func cut4(p []byte, quoted bool) (datagram, string) {
	if len(p) < size4 {
		return datagram{}, "shorter than its header"
	}
	size, length := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
	switch {
	case size < size4 || length < size || len(p) < size:
		return datagram{}, "its lengths contradict each other"
	case length > len(p) && !quoted:
		return datagram{}, "shorter than it says"
	case binary.BigEndian.Uint16(p[6:])&0x3fff != 0: // RFC 791 section 3.1: MF and offset
		return datagram{}, "a fragment"
	}
	return datagram{number: p[9], ip: p[:size], segment: p[size:min(length, len(p))],
		from: netip.AddrFrom4([4]byte(p[12:16])), to: netip.AddrFrom4([4]byte(p[16:20]))}, ""
}

func cut6(p []byte, quoted bool) (datagram, string) {
	if len(p) < size6 {
		return datagram{}, "shorter than its header"
	}
	length := size6 + int(binary.BigEndian.Uint16(p[4:]))
	if length > len(p) && !quoted {
		return datagram{}, "shorter than it says"
	}
	return datagram{v6: true, number: p[6], ip: p[:size6], segment: p[size6:min(length, len(p))],
		from: netip.AddrFrom16([16]byte(p[8:24])), to: netip.AddrFrom16([16]byte(p[24:40]))}, ""
}

// tcp reads a whole TCP segment. Options are read where they matter.
func (d datagram) tcp(options bool) (Packet, string) {
	s := d.segment
	if len(s) < sizeTCP {
		return Packet{}, "shorter than a TCP header"
	}
	size := int(s[12]>>4) * 4
	if size < sizeTCP || size > len(s) {
		return Packet{}, "its TCP header is longer than it"
	}
	p := Packet{
		Protocol: TCP,
		From:     netip.AddrPortFrom(d.from, binary.BigEndian.Uint16(s)),
		To:       netip.AddrPortFrom(d.to, binary.BigEndian.Uint16(s[2:])),
		Flags:    Flags(s[13] & 63),
		Seq:      binary.BigEndian.Uint32(s[4:]),
		Ack:      binary.BigEndian.Uint32(s[8:]),
		Len:      uint32(len(s) - size),
		Window:   binary.BigEndian.Uint16(s[14:]),
	}
	if options && size > sizeTCP {
		p.Options = readOptions(s[sizeTCP:size])
	}
	return p, ""
}

// Kinds of TCP options (IANA).
const (
	optionEnd           = 0
	optionNOP           = 1
	optionMSS           = 2
	optionScale         = 3
	optionSACKPermitted = 4
	optionSACK          = 5
)

// eachOption calls f with each option that is whole; what is returned false
// ends it.
func eachOption(b []byte, f func(kind byte, option []byte) bool) {
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == optionNOP {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		if !f(b[0], b[:b[1]]) {
			return
		}
		b = b[b[1]:]
	}
}

func readOptions(b []byte) (o Options) {
	eachOption(b, func(kind byte, option []byte) bool {
		switch {
		case kind == optionScale && len(option) == 3:
			o.Scaled, o.Scale = true, option[2]
		case kind == optionSACKPermitted && len(option) == 2:
			o.SACKPermitted = true
		case kind == optionSACK && len(option) >= 10 && len(option)%8 == 2:
			for i := 6; i < len(option); i += 8 {
				if edge := binary.BigEndian.Uint32(option[i:]); !o.SACK || after(edge, o.Edge) {
					o.SACK, o.Edge = true, edge
				}
			}
		}
		return true
	})
	return o
}

// udp reads a UDP header.
func (d datagram) udp() (Packet, string) {
	if len(d.segment) < 8 {
		return Packet{}, "shorter than a UDP header"
	}
	return Packet{
		Protocol: UDP,
		From:     netip.AddrPortFrom(d.from, binary.BigEndian.Uint16(d.segment)),
		To:       netip.AddrPortFrom(d.to, binary.BigEndian.Uint16(d.segment[2:])),
		Len:      uint32(len(d.segment) - 8),
	}, ""
}

// A message is a kind of ICMP message, as far as a NAT tells them apart.
type message uint8

const (
	otherMessage message = iota
	echoRequest
	echoReply
	errorMessage
)

// icmpMessage names the message of RFC 792 or RFC 4443.
func (d datagram) icmpMessage() message {
	if len(d.segment) < sizeICMP {
		return otherMessage
	}
	switch t := d.segment[0]; {
	case d.v6 && t >= 1 && t <= 4, !d.v6 && (t == 3 || t == 4 || t == 11 || t == 12):
		return errorMessage
	case d.v6 && t == 128, !d.v6 && t == 8:
		return echoRequest
	case d.v6 && t == 129, !d.v6 && t == 0:
		return echoReply
	}
	return otherMessage
}

// query reads an ICMP query, whose sender's port is its identifier.
func (d datagram) query(m message) Packet {
	id := binary.BigEndian.Uint16(d.segment[4:])
	p := Packet{Protocol: ICMP, From: netip.AddrPortFrom(d.from, id), To: netip.AddrPortFrom(d.to, 0)}
	if m == echoReply {
		p.From, p.To = netip.AddrPortFrom(d.from, 0), netip.AddrPortFrom(d.to, id)
	}
	return p
}

// quote reads what an ICMP error says of the packet it is about: at least 8
// bytes of the transport header (RFC 792).
func (d datagram) quote() (Packet, string) {
	s := d.segment
	if len(s) < 8 {
		return Packet{}, "its quote is too short"
	}
	switch {
	case d.number == numberTCP:
		p := Packet{Protocol: TCP, From: netip.AddrPortFrom(d.from, binary.BigEndian.Uint16(s)),
			To: netip.AddrPortFrom(d.to, binary.BigEndian.Uint16(s[2:])), Seq: binary.BigEndian.Uint32(s[4:])}
		if len(s) >= 14 {
			p.Ack, p.Flags = binary.BigEndian.Uint32(s[8:]), Flags(s[13]&63)
		}
		return p, ""
	case d.number == numberUDP:
		return d.udp()
	case d.number == d.icmpNumber():
		if m := d.icmpMessage(); m == echoRequest || m == echoReply {
			return d.query(m), ""
		}
	}
	return Packet{}, "it quotes an unknown protocol"
}

func (d datagram) icmpNumber() byte {
	if d.v6 {
		return numberICMPv6
	}
	return numberICMP
}
