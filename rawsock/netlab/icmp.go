package netlab

import (
	"encoding/binary"
	"net/netip"
)

// errorKind is a reason for an ICMP error.
type errorKind int

const (
	timeExceeded errorKind = iota
	noRoute
)

// Types of RFC 792 and RFC 4443; the code is always 0: TTL exceeded in transit,
// network unreachable (RFC 1812 section 5.2.7.1), no route to destination.
var (
	icmpTypes  = [...]byte{timeExceeded: 11, noRoute: 3}
	icmp6Types = [...]byte{timeExceeded: 3, noRoute: 1}
)

const (
	errorTTL   = 64
	icmpHeader = 8
	largest4   = 576  // of an error, RFC 1812 section 4.3.2.3
	largest6   = 1280 // RFC 4443 section 2.4 (c)
	// RFC 1812 section 4.3.2.5: errors have precedence 6, internetwork control.
	errorPrecedence = 0xc0
)

// icmpError writes into b the error that a router sends about a packet, quoting
// as much of it as fits. It returns nil where routers must keep silent.
func icmpError(b, p []byte, h header, kind errorKind, from netip.Addr) []byte {
	if mustKeepSilent(p, h) {
		return nil
	}
	if h.v6 {
		return icmpError6(b, p[:h.length], h, kind, from)
	}
	return icmpError4(b, p[:h.length], h, kind, from)
}

func icmpError4(b, p []byte, h header, kind errorKind, from netip.Addr) []byte {
	b = b[:min(size4+icmpHeader+len(p), largest4)]
	clear(b[:size4+icmpHeader])
	b[0], b[1], b[8], b[9] = 0x45, errorPrecedence, errorTTL, protocolICMP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:16], from.AsSlice())
	copy(b[16:20], h.src.AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^fold(sum(b[:size4], 0)))
	message := b[size4:]
	message[0] = icmpTypes[kind]
	copy(message[icmpHeader:], p)
	binary.BigEndian.PutUint16(message[2:], ^fold(sum(message, 0)))
	return b
}

func icmpError6(b, p []byte, h header, kind errorKind, from netip.Addr) []byte {
	b = b[:min(size6+icmpHeader+len(p), largest6)]
	clear(b[:size6+icmpHeader])
	b[0], b[6], b[7] = 0x60, protocolICMPv6, errorTTL
	message := b[size6:]
	binary.BigEndian.PutUint16(b[4:], uint16(len(message)))
	copy(b[8:24], from.AsSlice())
	copy(b[24:40], h.src.AsSlice())
	message[0] = icmp6Types[kind]
	copy(message[icmpHeader:], p)
	pseudo := pseudoSum(b, header{v6: true}, protocolICMPv6, len(message))
	binary.BigEndian.PutUint16(message[2:], ^fold(sum(message, pseudo)))
	return b
}

// mustKeepSilent tells when no error may be sent: about errors, and about
// fragments but the first (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e)).
// Addresses that are not unicast never come this far.
func mustKeepSilent(p []byte, h header) bool {
	if h.fragment {
		return true
	}
	if h.length <= h.size {
		return false
	}
	first := p[h.size]
	switch h.protocol {
	case protocolICMP:
		return first != 0 && first != 8 && first != 13 && first != 14 // queries of RFC 792
	case protocolICMPv6:
		return first < 128
	}
	return false
}
