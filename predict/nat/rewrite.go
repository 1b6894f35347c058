package nat

import (
	"encoding/binary"
	"net/netip"
)

// rewrite turns the packet that was read as old into new, in place, and the
// checksums with it. What follows the quoted part of a header is left alone.
func (d datagram) rewrite(old, new Packet) {
	var addresses change
	if old.From.Addr() != new.From.Addr() {
		addresses.address(d.ip[12:16], new.From.Addr())
	}
	if old.To.Addr() != new.To.Addr() {
		addresses.address(d.ip[16:20], new.To.Addr())
	}
	if addresses != 0 {
		addresses.apply(d.ip[10:])
	}
	s := d.segment
	switch old.Protocol {
	case TCP:
		ports(s, addresses, old, new).finishTCP(s, old, new)
	case UDP:
		ports(s, addresses, old, new).finishUDP(s)
	case ICMP:
		var c change // ICMP has no pseudo header
		c.put16(s[4:], max(new.From.Port(), new.To.Port()))
		c.apply(s[2:])
	}
}

func (c *change) address(field []byte, a netip.Addr) {
	b := a.As4()
	c.put32(field, binary.BigEndian.Uint32(b[:]))
}

func ports(s []byte, c change, old, new Packet) change {
	if old.From.Port() != new.From.Port() {
		c.put16(s, new.From.Port())
	}
	if old.To.Port() != new.To.Port() {
		c.put16(s[2:], new.To.Port())
	}
	return c
}

func (c change) finishTCP(s []byte, old, new Packet) {
	if old.Seq != new.Seq {
		c.put32(s[4:], new.Seq)
	}
	if old.Ack != new.Ack && len(s) >= 12 {
		c.put32(s[8:], new.Ack)
		c.shiftEdges(s, new.Ack-old.Ack)
	}
	if c != 0 && len(s) >= 18 {
		c.apply(s[16:])
	}
}

// shiftEdges moves selective acknowledgments as the acknowledgment was moved.
func (c *change) shiftEdges(s []byte, by uint32) {
	options := optionsOf(s)
	before := sum(options, 0)
	found := false
	eachOption(options, func(kind byte, option []byte) bool {
		if kind != optionSACK {
			return true
		}
		for found = true; len(option) >= 6; option = option[4:] {
			binary.BigEndian.PutUint32(option[2:], binary.BigEndian.Uint32(option[2:])+by)
		}
		return false
	})
	if found {
		c.bytes(before, options)
	}
}

func (c change) finishUDP(s []byte) {
	field := s[6:8]
	if c == 0 || field[0] == 0 && field[1] == 0 { // RFC 768: no checksum
		return
	}
	c.apply(field)
	if field[0] == 0 && field[1] == 0 {
		field[0], field[1] = 0xff, 0xff
	}
}

// optionsOf are the options of a TCP segment that may be cut short.
func optionsOf(s []byte) []byte {
	if len(s) < sizeTCP {
		return nil
	}
	size := int(s[12]>>4) * 4
	if size < sizeTCP || size > len(s) {
		return nil
	}
	return s[sizeTCP:size]
}

// setTTL changes the TTL or hop limit.
func (d datagram) setTTL(ttl uint8) {
	if d.v6 {
		d.ip[7] = ttl
		return
	}
	var c change
	c.put16(d.ip[8:], uint16(ttl)<<8|uint16(d.ip[9]))
	c.apply(d.ip[10:])
}

// shapeSYN strips and clamps what a SYN offers, as far as it is configured.
func (d datagram) shapeSYN(strip bool, clamp uint16) {
	options := optionsOf(d.segment)
	if len(options) == 0 {
		return
	}
	before := sum(options, 0)
	if strip {
		stripOptions(options)
	}
	if clamp != 0 {
		clampMSS(options, clamp)
	}
	var c change
	c.bytes(before, options)
	c.apply(d.segment[16:])
}

// stripOptions leaves nothing but the maximum segment size.
func stripOptions(options []byte) {
	var mss [4]byte
	eachOption(options, func(kind byte, option []byte) bool {
		if kind == optionMSS && len(option) == 4 {
			copy(mss[:], option)
		}
		return true
	})
	for i := range options {
		options[i] = optionNOP
	}
	if mss[0] == optionMSS {
		copy(options, mss[:])
	}
}

func clampMSS(options []byte, limit uint16) {
	eachOption(options, func(kind byte, option []byte) bool {
		if kind == optionMSS && len(option) == 4 {
			binary.BigEndian.PutUint16(option[2:], min(limit, binary.BigEndian.Uint16(option[2:])))
		}
		return true
	})
}
