package rawsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// ErrNotTCP says that a packet is no whole TCP segment.
var ErrNotTCP = errors.New("not a TCP segment")

// ParseSegment reads a whole IP packet. Options and Payload are parts of it; a
// payload that was cut short is as long as the rest. Checksums are not looked
// at. Fragments and IPv6 extension headers are ErrNotTCP.
func ParseSegment(packet []byte) (Segment, error) {
	s, tcp, err := parseIP(packet)
	if err != nil {
		return Segment{}, err
	}
	if len(tcp) < tcpHeader || int(tcp[12]>>4)*4 < tcpHeader || int(tcp[12]>>4)*4 > len(tcp) {
		return Segment{}, fmt.Errorf("%w: %d bytes after the IP header", ErrNotTCP, len(tcp))
	}
	s.parsePorts(tcp)
	header := int(tcp[12]>>4) * 4
	s.Ack = binary.BigEndian.Uint32(tcp[8:])
	s.Flags = Flags(binary.BigEndian.Uint16(tcp[12:]) & (1<<len(flagNames) - 1))
	s.Window = binary.BigEndian.Uint16(tcp[14:])
	s.Urgent = binary.BigEndian.Uint16(tcp[18:])
	s.Options, s.Payload = TCPOptions(tcp[tcpHeader:header]), tcp[header:]
	return s, nil
}

// parsePorts reads the first 8 bytes of a TCP header, which are all that an ICMP
// error must quote (RFC 792).
func (s *Segment) parsePorts(tcp []byte) {
	s.From = netip.AddrPortFrom(s.From.Addr(), binary.BigEndian.Uint16(tcp))
	s.To = netip.AddrPortFrom(s.To.Addr(), binary.BigEndian.Uint16(tcp[2:]))
	s.Seq = binary.BigEndian.Uint32(tcp[4:])
}

// parseIP reads the header of a TCP packet, and cuts off what is beyond its
// length, such as the padding of a link.
func parseIP(packet []byte) (s Segment, tcp []byte, err error) {
	s, protocol, body, err := parseNetwork(packet)
	if err == nil && protocol != protocolTCP {
		err = fmt.Errorf("%w: protocol %d", ErrNotTCP, protocol)
	}
	return s, body, err
}

func parseNetwork(packet []byte) (s Segment, protocol byte, body []byte, err error) {
	switch {
	case len(packet) >= ipv4Header && packet[0]>>4 == 4:
		return parseIPv4(packet)
	case len(packet) >= ipv6Header && packet[0]>>4 == 6:
		return parseIPv6(packet)
	}
	return s, 0, nil, fmt.Errorf("%w: no IP header in %d bytes", ErrNotTCP, len(packet))
}

func parseIPv4(packet []byte) (s Segment, protocol byte, body []byte, err error) {
	header := int(packet[0]&15) * 4
	fragment := binary.BigEndian.Uint16(packet[6:])
	if header < ipv4Header || header > len(packet) || fragment&0x1fff != 0 {
		return s, 0, nil, fmt.Errorf("%w: no first fragment of IPv4", ErrNotTCP)
	}
	s.From = netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[12:])), 0)
	s.To = netip.AddrPortFrom(netip.AddrFrom4([4]byte(packet[16:])), 0)
	s.TOS, s.TTL, s.ID = packet[1], packet[8], binary.BigEndian.Uint16(packet[4:])
	s.DontFragment = fragment&0x4000 != 0
	end := min(max(int(binary.BigEndian.Uint16(packet[2:])), header), len(packet))
	return s, packet[9], packet[header:end], nil
}

func parseIPv6(packet []byte) (s Segment, protocol byte, body []byte, err error) {
	s.From = netip.AddrPortFrom(netip.AddrFrom16([16]byte(packet[8:])), 0)
	s.To = netip.AddrPortFrom(netip.AddrFrom16([16]byte(packet[24:])), 0)
	head := binary.BigEndian.Uint32(packet)
	s.TOS, s.TTL, s.FlowLabel = uint8(head>>20), packet[7], head&(1<<20-1)
	end := min(ipv6Header+int(binary.BigEndian.Uint16(packet[4:])), len(packet))
	return s, packet[6], packet[ipv6Header:end], nil
}

// ICMPError is a router's or a host's complaint about a segment.
type ICMPError struct {
	From       netip.Addr
	Type, Code uint8 // of ICMP, or of ICMPv6 where From is IPv6
}

// String names what RFC 792, RFC 1812 and RFC 4443 call it.
func (e ICMPError) String() string {
	names := icmpNames
	if e.From.Is6() {
		names = icmpv6Names
	}
	name := names[[2]uint8{e.Type, e.Code}]
	if name == "" {
		name = "ICMP error"
	}
	return fmt.Sprintf("%s (%d/%d) from %v", name, e.Type, e.Code, e.From)
}

var icmpNames = map[[2]uint8]string{
	{3, 0}: "network unreachable", {3, 1}: "host unreachable", {3, 2}: "protocol unreachable", {3, 3}: "port unreachable",
	{3, 4}: "fragmentation needed", {3, 9}: "network prohibited", {3, 10}: "host prohibited", {3, 13}: "administratively prohibited",
	{11, 0}: "time exceeded", {11, 1}: "reassembly time exceeded", {12, 0}: "parameter problem",
}

var icmpv6Names = map[[2]uint8]string{
	{1, 0}: "no route", {1, 1}: "administratively prohibited", {1, 3}: "address unreachable", {1, 4}: "port unreachable",
	{1, 5}: "source address failed policy", {1, 6}: "route rejected", {2, 0}: "packet too big", {3, 0}: "hop limit exceeded",
	{3, 1}: "reassembly time exceeded", {4, 0}: "parameter problem",
}

// Final reports whether the complaint ends an attempt: whatever says that the
// destination cannot be reached. That a hop limit ran out does not, since a
// segment with another one may arrive.
func (e ICMPError) Final() bool {
	if e.From.Is6() {
		return e.Type == 1
	}
	return e.Type == 3 && e.Code != 4
}

// Reply is a packet that may answer a crafted segment.
type Reply struct {
	// Segment is what arrived; of an ICMP error, the part that it quotes of what
	// was sent, where only ends and sequence number are valid.
	Segment Segment
	ICMP    *ICMPError // nil for a segment
}

// Clone is the reply apart from the packet that it was read from.
func (r Reply) Clone() Reply {
	r.Segment.Options, r.Segment.Payload = slices.Clone(r.Segment.Options), slices.Clone(r.Segment.Payload)
	return r
}

// ParseReply reads an IP packet that holds a TCP segment, or an ICMP error about
// one (RFC 792; RFC 4443 section 2.4). All else is ErrNotTCP.
func ParseReply(packet []byte) (Reply, error) {
	outer, protocol, body, err := parseNetwork(packet)
	if err != nil {
		return Reply{}, err
	}
	from := outer.From.Addr()
	isError := protocol == protocolICMP && from.Is4() || protocol == protocolICMPv6 && from.Is6()
	if !isError {
		s, err := ParseSegment(packet)
		return Reply{Segment: s}, err
	}
	const quoted = 8 // where the quotation begins
	if len(body) < quoted {
		return Reply{}, fmt.Errorf("%w: ICMP of %d bytes", ErrNotTCP, len(body))
	}
	inner, tcp, err := parseIP(body[quoted:])
	if err != nil || len(tcp) < 8 {
		return Reply{}, fmt.Errorf("%w: ICMP that quotes none", ErrNotTCP)
	}
	inner.parsePorts(tcp)
	return Reply{Segment: inner, ICMP: &ICMPError{From: from, Type: body[0], Code: body[1]}}, nil
}

// Fit is how well a reply fits a segment.
type Fit uint8

const (
	FitNone  Fit = iota
	FitFlow      // the ends agree
	FitExact     // and the numbers: it acknowledges, resets or quotes this very segment
)

// String is "none", "flow" or "exact".
func (f Fit) String() string { return [...]string{"none", "flow", "exact"}[min(f, FitExact)] }

// MarshalText is String.
func (f Fit) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (f *Fit) UnmarshalText(text []byte) error {
	for known := FitNone; known <= FitExact; known++ {
		if known.String() == string(text) {
			*f = known
			return nil
		}
	}
	return errors.New("not a fit: " + string(text))
}

// Fits tells how well the reply fits a segment that was sent. A reset without an
// acknowledgement carries the number that the segment acknowledged (RFC 9293
// section 3.10.7.1). Who answers a SYN need not take the data that came with it
// (RFC 7413 section 4.2.2).
func (r Reply) Fits(sent Segment) Fit {
	got := r.Segment
	if r.ICMP != nil {
		switch {
		case !sameEnds(got.From, sent.From) || !sameEnds(got.To, sent.To):
			return FitNone
		case got.Seq == sent.Seq:
			return FitExact
		}
		return FitFlow
	}
	switch {
	case !sameEnds(got.From, sent.To) || !sameEnds(got.To, sent.From):
		return FitNone
	case got.Flags.Has(ACK) && got.Ack == sent.Seq+sent.Span(),
		got.Flags.Has(ACK) && sent.Flags.Has(SYN) && got.Ack == sent.Seq+1,
		!got.Flags.Has(ACK) && got.Flags.Has(RST) && sent.Flags.Has(ACK) && got.Seq == sent.Ack:
		return FitExact
	}
	return FitFlow
}

func sameEnds(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().Unmap().WithZone("") == b.Addr().Unmap().WithZone("")
}

// Kind names the reply in a word: "icmp", or the flags of the segment with the
// acknowledgement last, such as "syn-ack" and "rst-ack".
func (r Reply) Kind() string {
	if r.ICMP != nil {
		return "icmp"
	}
	return r.Segment.Kind()
}

// Kind names the segment by its flags, the acknowledgement last: "syn",
// "syn-ack", "rst", "psh-ack"; "null" where it has none.
func (s Segment) Kind() string {
	kind := ""
	for i, name := range flagNames {
		if bit := Flags(1 << i); bit != ACK && s.Flags.Has(bit) {
			kind += "-" + name
		}
	}
	if s.Flags.Has(ACK) {
		kind += "-ack"
	}
	if kind == "" {
		return "null"
	}
	return kind[1:]
}
