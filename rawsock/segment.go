package rawsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Flags are the nine control bits of a TCP header (RFC 9293 section 3.1; NS is
// the ninth, of RFC 3540).
type Flags uint16

const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
	NS
)

var flagNames = [...]string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"}

// Has reports whether all of the other flags are set.
func (f Flags) Has(all Flags) bool { return f&all == all }

// String joins the flags by commas: "syn,ack". It is "none" where none is set.
func (f Flags) String() string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

// MarshalText is String.
func (f Flags) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText wrote, in any order.
func (f *Flags) UnmarshalText(text []byte) error {
	var read Flags
	for name := range strings.SplitSeq(string(text), ",") {
		bit, known := flagOf(name)
		if !known && string(text) != "none" {
			return fmt.Errorf("not a TCP flag: %q; there are %s", name, strings.Join(flagNames[:], ", "))
		}
		read |= bit
	}
	*f = read
	return nil
}

func flagOf(name string) (Flags, bool) {
	for i, known := range flagNames {
		if known == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Segment is one TCP segment in an IP packet of its own, header by header as it
// is on the wire. Checksums, lengths and offsets follow from the rest.
type Segment struct {
	From, To netip.AddrPort // of one family; an IPv4 address in IPv6 form counts as IPv4
	Flags    Flags
	Seq, Ack uint32
	Window   uint16 // not scaled
	Urgent   uint16
	Options  TCPOptions // at most 40 bytes; zeros fill up the last word
	Payload  []byte

	TTL          uint8  // or hop limit; 0 stands for 64
	TOS          uint8  // type of service, or traffic class
	ID           uint16 // of IPv4; a raw socket of Linux replaces 0 by a number of its own (raw(7))
	DontFragment bool   // of IPv4
	FlowLabel    uint32 // of IPv6, 20 bits
}

const (
	ipv4Header     = 20
	ipv6Header     = 40
	tcpHeader      = 20
	maxTCPOptions  = 40
	defaultTTL     = 64 // RFC 1700, and Linux
	protocolTCP    = 6
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// Span is how much of the sequence space the segment takes: its payload, and
// one for a SYN and a FIN each.
func (s Segment) Span() uint32 {
	n := uint32(len(s.Payload))
	if s.Flags.Has(SYN) {
		n++
	}
	if s.Flags.Has(FIN) {
		n++
	}
	return n
}

// AppendBinary appends the whole IP packet to b. Errors are about ends of two
// families, or more options or payload than a packet holds.
func (s Segment) AppendBinary(b []byte) ([]byte, error) {
	if err := s.check(); err != nil {
		return b, fmt.Errorf("segment %v to %v: %w", s.From, s.To, err)
	}
	if s.TTL == 0 {
		s.TTL = defaultTTL
	}
	start := len(b)
	from, to := s.From.Addr().Unmap(), s.To.Addr().Unmap()
	if from.Is4() {
		b = s.appendIPv4(b, from, to)
	} else {
		b = s.appendIPv6(b, from, to)
	}
	header := len(b)
	b = s.appendTCP(b)
	sum := pseudoHeader(from, to, len(b)-header)
	binary.BigEndian.PutUint16(b[header+16:], finish(sumWords(sum, b[header:])))
	if from.Is4() {
		binary.BigEndian.PutUint16(b[start+10:], finish(sumWords(0, b[start:start+ipv4Header])))
	}
	return b, nil
}

func (s Segment) check() error {
	from, to := s.From.Addr().Unmap(), s.To.Addr().Unmap()
	limit := 65535 - tcpHeader - s.Options.padded()
	if from.Is4() {
		limit -= ipv4Header
	}
	switch {
	case !from.IsValid() || !to.IsValid() || from.Is4() != to.Is4():
		return errors.New("want two addresses of one family")
	case len(s.Options) > maxTCPOptions:
		return fmt.Errorf("%d bytes of options: at most %d", len(s.Options), maxTCPOptions)
	case len(s.Payload) > limit:
		return fmt.Errorf("%d bytes of payload: at most %d", len(s.Payload), limit)
	case s.FlowLabel>>20 != 0:
		return errors.New("a flow label has 20 bits")
	case s.Flags>>len(flagNames) != 0:
		return errors.New("there are nine flags")
	}
	return nil
}

// appendIPv4 appends the header of RFC 791 section 3.1 without its checksum.
func (s Segment) appendIPv4(b []byte, from, to netip.Addr) []byte {
	fragment := uint16(0)
	if s.DontFragment {
		fragment = 0x4000
	}
	length := ipv4Header + s.size()
	b = append(b, 0x45, s.TOS)
	b = binary.BigEndian.AppendUint16(b, uint16(length))
	b = binary.BigEndian.AppendUint16(b, s.ID)
	b = binary.BigEndian.AppendUint16(b, fragment)
	b = append(b, s.TTL, protocolTCP, 0, 0)
	b = append(b, from.AsSlice()...)
	return append(b, to.AsSlice()...)
}

// appendIPv6 appends the header of RFC 8200 section 3.
func (s Segment) appendIPv6(b []byte, from, to netip.Addr) []byte {
	b = binary.BigEndian.AppendUint32(b, 6<<28|uint32(s.TOS)<<20|s.FlowLabel)
	b = binary.BigEndian.AppendUint16(b, uint16(s.size()))
	b = append(b, protocolTCP, s.TTL)
	b = append(b, from.AsSlice()...)
	return append(b, to.AsSlice()...)
}

// size is that of the TCP header and the payload.
func (s Segment) size() int { return tcpHeader + s.Options.padded() + len(s.Payload) }

// appendTCP appends the header of RFC 9293 section 3.1 without its checksum, and
// the payload.
func (s Segment) appendTCP(b []byte) []byte {
	offset := uint16(tcpHeader+s.Options.padded()) / 4
	b = binary.BigEndian.AppendUint16(b, s.From.Port())
	b = binary.BigEndian.AppendUint16(b, s.To.Port())
	b = binary.BigEndian.AppendUint32(b, s.Seq)
	b = binary.BigEndian.AppendUint32(b, s.Ack)
	b = binary.BigEndian.AppendUint16(b, offset<<12|uint16(s.Flags))
	b = binary.BigEndian.AppendUint16(b, s.Window)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, s.Urgent)
	b = append(b, s.Options...)
	for range s.Options.padded() - len(s.Options) {
		b = append(b, 0)
	}
	return append(b, s.Payload...)
}

// pseudoHeader sums up that of RFC 9293 section 3.1, or of RFC 8200 section 8.1.
func pseudoHeader(from, to netip.Addr, length int) uint32 {
	sum := uint32(protocolTCP) + uint32(length)
	return sumWords(sumWords(sum, from.AsSlice()), to.AsSlice())
}

// sumWords adds the words of b to a sum (RFC 1071); the packets here are too
// short for it to overflow.
func sumWords(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func finish(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
