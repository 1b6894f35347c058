package netlab

import (
	"encoding/binary"
	"net/netip"
)

const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
	size4, size6   = 20, 40 // of headers without options
)

// header is what the core needs to know of an IP packet.
type header struct {
	v6       bool
	fragment bool // any but the first, so that no transport header follows
	ttl      uint8
	protocol uint8 // of what follows size; extension headers of IPv6 are not walked
	size     int   // of the IP header
	length   int   // of the packet
	src, dst netip.Addr
}

// parse reads the header of a packet, which may be followed by padding.
func parse(p []byte) (header, bool) {
	if len(p) == 0 {
		return header{}, false
	}
	switch p[0] >> 4 {
	case 4:
		return parse4(p)
	case 6:
		return parse6(p)
	}
	return header{}, false
}

func parse4(p []byte) (header, bool) {
	if len(p) < size4 {
		return header{}, false
	}
	h := header{
		size: int(p[0]&15) * 4, length: int(binary.BigEndian.Uint16(p[2:])),
		fragment: binary.BigEndian.Uint16(p[6:])&0x1fff != 0,
		ttl:      p[8], protocol: p[9],
		src: netip.AddrFrom4([4]byte(p[12:16])), dst: netip.AddrFrom4([4]byte(p[16:20])),
	}
	return h, h.size >= size4 && h.length >= h.size && h.length <= len(p)
}

func parse6(p []byte) (header, bool) {
	if len(p) < size6 {
		return header{}, false
	}
	h := header{
		v6: true, size: size6, length: size6 + int(binary.BigEndian.Uint16(p[4:])),
		ttl: p[7], protocol: p[6],
		src: netip.AddrFrom16([16]byte(p[8:24])), dst: netip.AddrFrom16([16]byte(p[24:40])),
	}
	return h, h.length <= len(p)
}

// setTTL changes the TTL or hop limit, and the checksum of IPv4 with it.
func setTTL(p []byte, ttl uint8) {
	if p[0]>>4 == 6 {
		p[7] = ttl
		return
	}
	old := binary.BigEndian.Uint16(p[8:])
	p[8] = ttl
	check := binary.BigEndian.Uint16(p[10:])
	binary.BigEndian.PutUint16(p[10:], replaceWord(check, old, binary.BigEndian.Uint16(p[8:])))
}

// routable reports whether routers forward between these addresses: not
// multicast, broadcast, link-local (RFC 3927 section 7, RFC 4291 section
// 2.5.6), loopback or unspecified.
func (h header) routable() bool { return unicast(h.src) && unicast(h.dst) }

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func unicast(a netip.Addr) bool {
	return !a.IsMulticast() && !a.IsLinkLocalUnicast() && !a.IsLoopback() && !a.IsUnspecified() && a != broadcast
}
