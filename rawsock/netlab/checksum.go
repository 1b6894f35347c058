package netlab

import "encoding/binary"

// sum adds 16-bit words in ones' complement without folding (RFC 1071).
func sum(b []byte, initial uint64) uint64 {
	for ; len(b) >= 4; b = b[4:] {
		initial += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		initial += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		initial += uint64(b[0]) << 8
	}
	return initial
}

// fold reduces a sum to 16 bits; the checksum is its complement.
func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// replaceWord returns a checksum after a 16-bit word changed from old to new:
// equation 3 of RFC 1624, HC' = ~(~HC + ~m + m').
func replaceWord(check, old, new uint16) uint16 {
	return ^fold(uint64(^check) + uint64(^old) + uint64(new))
}

// pseudoSum is the sum of the pseudo header of RFC 9293 section 3.1 and
// RFC 8200 section 8.1.
func pseudoSum(p []byte, h header, protocol byte, length int) uint64 {
	addresses := p[12:20]
	if h.v6 {
		addresses = p[8:40]
	}
	return sum(addresses, uint64(protocol)+uint64(length))
}

// checksumOffset is where a transport header has its checksum, or -1.
func checksumOffset(protocol byte) int {
	switch protocol {
	case protocolTCP:
		return 16
	case protocolUDP:
		return 6
	}
	return -1
}

// completeChecksum fills in the transport checksum of a packet that its sender
// left to hardware that does not exist. Only TCP and UDP are ever left so.
func completeChecksum(p []byte, h header) {
	at := checksumOffset(h.protocol)
	segment := p[h.size:]
	if at < 0 || h.fragment || len(segment) < at+2 {
		return
	}
	field := segment[at : at+2]
	field[0], field[1] = 0, 0
	check := ^fold(sum(segment, pseudoSum(p, h, h.protocol, len(segment))))
	if check == 0 && h.protocol == protocolUDP {
		check = 0xffff // RFC 768: zero means none
	}
	binary.BigEndian.PutUint16(field, check)
}
