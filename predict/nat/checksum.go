package nat

import "encoding/binary"

// A change is what a rewrite adds to a checksummed sum: equation 3 of RFC 1624,
// HC' = ~(~HC + ~m + m'), for all words m at once.
type change uint64

func (c *change) word(old, new uint16) { *c += change(^old) + change(new) }

func (c *change) double(old, new uint32) {
	c.word(uint16(old>>16), uint16(new>>16))
	c.word(uint16(old), uint16(new))
}

// bytes is for a changed range that starts at an even offset.
func (c *change) bytes(oldSum uint64, new []byte) { c.word(fold(oldSum), fold(sum(new, 0))) }

// apply rewrites a checksum in place.
func (c change) apply(field []byte) {
	check := binary.BigEndian.Uint16(field)
	binary.BigEndian.PutUint16(field, ^fold(uint64(^check)+uint64(c)))
}

// put16 and put32 write a field and note the change.
func (c *change) put16(field []byte, v uint16) {
	c.word(binary.BigEndian.Uint16(field), v)
	binary.BigEndian.PutUint16(field, v)
}

func (c *change) put32(field []byte, v uint32) {
	c.double(binary.BigEndian.Uint32(field), v)
	binary.BigEndian.PutUint32(field, v)
}

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

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// pseudoSum is the sum of the pseudo header (RFC 9293 section 3.1, RFC 8200
// section 8.1).
func pseudoSum(ip []byte, number byte, length int) uint64 {
	if ip[0]>>4 == 6 {
		return sum(ip[8:40], uint64(number)+uint64(length))
	}
	return sum(ip[12:20], uint64(number)+uint64(length))
}
