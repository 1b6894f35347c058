package nat

import "encoding/binary"

// ttlOwn is the TTL of what the NAT itself sends (RFC 9293 section 3.9.2.3 has
// the hosts' default in the IANA registry: 64).
const ttlOwn = 64

// appendReset builds the RST p (RFC 9293 section 3.5.2).
func appendReset(b []byte, p Packet) []byte {
	at := len(b)
	b = appendHeader(b, p, numberTCP, sizeTCP)
	ip, segment := b[at:len(b)-sizeTCP], b[len(b)-sizeTCP:]
	binary.BigEndian.PutUint16(segment, p.From.Port())
	binary.BigEndian.PutUint16(segment[2:], p.To.Port())
	binary.BigEndian.PutUint32(segment[4:], p.Seq)
	binary.BigEndian.PutUint32(segment[8:], p.Ack)
	segment[12], segment[13] = sizeTCP/4<<4, byte(p.Flags)
	binary.BigEndian.PutUint16(segment[16:], ^fold(sum(segment, pseudoSum(ip, numberTCP, sizeTCP))))
	return b
}

// appendHeader builds an IP header from p.From to p.To, and room for size bytes.
func appendHeader(b []byte, p Packet, number byte, size int) []byte {
	at := len(b)
	if p.From.Addr().Is4() {
		b = append(b, make([]byte, size4+size)...)
		ip := b[at : at+size4]
		ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, ttlOwn, number // don't fragment
		binary.BigEndian.PutUint16(ip[2:], uint16(size4+size))
		from, to := p.From.Addr().As4(), p.To.Addr().As4()
		copy(ip[12:], from[:])
		copy(ip[16:], to[:])
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip, 0)))
		return b
	}
	b = append(b, make([]byte, size6+size)...)
	ip := b[at : at+size6]
	ip[0], ip[6], ip[7] = 0x60, number, ttlOwn
	binary.BigEndian.PutUint16(ip[4:], uint16(size))
	from, to := p.From.Addr().As16(), p.To.Addr().As16()
	copy(ip[8:], from[:])
	copy(ip[24:], to[:])
	return b
}

// appendError builds the ICMP error about p, which it quotes as far as fits. A
// NAT says that the port is unreachable (RFC 5382 section 4.3, REQ-4), a
// firewall that it is prohibited (RFC 1812 section 5.2.7.1, RFC 6092 REC-38).
func appendError(b []byte, p Packet, quote []byte, firewall bool) []byte {
	quote = quote[:min(len(quote), maxQuote)]
	at, size := len(b), sizeICMP+len(quote)
	back := Packet{From: p.To, To: p.From}
	v4 := p.From.Addr().Is4()
	number, kind, code := byte(numberICMP), byte(3), byte(3)
	switch {
	case !v4:
		number, kind, code = numberICMPv6, 1, 1
	case firewall:
		code = 13
	}
	b = appendHeader(b, back, number, size)
	ip, segment := b[at:len(b)-size], b[len(b)-size:]
	segment[0], segment[1] = kind, code
	copy(segment[sizeICMP:], quote)
	initial := uint64(0)
	if !v4 {
		initial = pseudoSum(ip, number, size)
	}
	binary.BigEndian.PutUint16(segment[2:], ^fold(sum(segment, initial)))
	return b
}
