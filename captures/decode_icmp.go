package captures

import (
	"encoding/binary"
	"net/netip"
)

// ICMP types of errors: RFC 792 and RFC 4443.
var (
	icmp4Errors = map[byte]Kind{3: KindICMPUnreachable, 11: KindICMPTimeExceeded, 12: KindICMPParameter}
	icmp6Errors = map[byte]Kind{1: KindICMPUnreachable, 2: KindICMPTooBig, 3: KindICMPTimeExceeded, 4: KindICMPParameter}
)

func decodeICMP4(ip network) (Segment, error) {
	if len(ip.payload) < 8 {
		return Segment{}, ErrNotTCP
	}
	kind := icmp4Errors[ip.payload[0]]
	if kind == KindICMPUnreachable && ip.payload[1] == 4 { // fragmentation needed
		kind = KindICMPTooBig
	}
	return quoted(ip, kind)
}

func decodeICMP6(ip network) (Segment, error) {
	if len(ip.payload) < 8 {
		return Segment{}, ErrNotTCP
	}
	return quoted(ip, icmp6Errors[ip.payload[0]])
}

// quoted reads the segment that an ICMP error quotes, of which no more than
// ports and sequence number need to be there (RFC 792).
func quoted(ip network, kind Kind) (Segment, error) {
	if kind == KindUnknown {
		return Segment{}, ErrNotTCP
	}
	q := ip.payload[8:]
	from, to, tcp := quotedNetwork(q)
	if len(tcp) < 8 {
		return Segment{}, ErrNotTCP
	}
	var id uint16
	ttl := q[7] // the IPv6 hop limit
	if q[0]>>4 == 4 {
		id, ttl = binary.BigEndian.Uint16(q[4:]), q[8]
	}
	return Segment{
		ID: id, QuotedTTL: ttl,
		From: netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp)),
		To:   netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:])),
		Seq:  binary.BigEndian.Uint32(tcp[4:]),
		Kind: kind, Reporter: ip.from, TTL: ip.ttl,
		ICMPType: ip.payload[0], ICMPCode: ip.payload[1],
	}, nil
}

// quotedNetwork returns the ends and the TCP header of a quoted packet, or no
// header where it is not a first fragment of TCP.
func quotedNetwork(q []byte) (from, to netip.Addr, tcp []byte) {
	if len(q) >= 20 && q[0]>>4 == 4 {
		header := int(q[0]&15) * 4
		if header < 20 || header > len(q) || q[9] != 6 || binary.BigEndian.Uint16(q[6:])&0x1fff != 0 {
			return from, to, nil
		}
		return netip.AddrFrom4([4]byte(q[12:])), netip.AddrFrom4([4]byte(q[16:])), q[header:]
	}
	if len(q) < 40 || q[0]>>4 != 6 {
		return from, to, nil
	}
	return netip.AddrFrom16([16]byte(q[8:])), netip.AddrFrom16([16]byte(q[24:])), skipExtensions(q[6], q[40:])
}

// skipExtensions passes over IPv6 extension headers (RFC 8200 section 4) to a
// TCP header, or returns nothing.
func skipExtensions(next byte, rest []byte) []byte {
	for len(rest) >= 8 {
		length := 8 + int(rest[1])*8
		switch next {
		case 6:
			return rest
		case 0, 43, 60: // hop-by-hop, routing, destination
		case 44: // fragment
			if length = 8; binary.BigEndian.Uint16(rest[2:])>>3 != 0 {
				return nil
			}
		default:
			return nil
		}
		if length > len(rest) {
			return nil
		}
		next, rest = rest[0], rest[length:]
	}
	return nil
}
