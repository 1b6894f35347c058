package captures

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// ErrNotTCP is the error of Decode for a sound frame that holds neither a TCP
// segment nor an ICMP error about one.
var ErrNotTCP = errors.New("not TCP")

// errFrame is wrapped for a frame that cannot be decoded.
var errFrame = errors.New("damaged frame")

// Decoder turns frames into segments. It reuses its layers from frame to
// frame and is not safe for concurrent use.
type Decoder struct {
	ethernet layers.Ethernet
	vlan     layers.Dot1Q
	pppoe    pppoeLayer
	ip4      layers.IPv4
	ip6      ipv6Layer
	skip     layers.IPv6ExtensionSkipper
	fragment fragmentLayer
	tcp      tcpLayer
	parsers  map[gopacket.LayerType]*gopacket.DecodingLayerParser
	decoded  []gopacket.LayerType
}

// NewDecoder makes a decoder for all link types.
func NewDecoder() *Decoder {
	d := &Decoder{parsers: map[gopacket.LayerType]*gopacket.DecodingLayerParser{}}
	firsts := []gopacket.LayerType{layers.LayerTypeEthernet, layers.LayerTypeDot1Q, layers.LayerTypePPPoE, layers.LayerTypeIPv4, layers.LayerTypeIPv6}
	for _, first := range firsts {
		p := gopacket.NewDecodingLayerParser(first, &d.ethernet, &d.vlan, &d.pppoe, &d.ip4, &d.ip6, &d.skip, &d.fragment, &d.tcp)
		p.IgnoreUnsupported = true
		d.parsers[first] = p
	}
	return d
}

// Decode decodes one frame. The error is ErrNotTCP for what is sound but of no
// interest. File, Packet and Time of the segment are left to the caller;
// Interface is set only where the frame itself names one.
func (d *Decoder) Decode(link LinkType, frame []byte) (Segment, error) {
	first, rest, place, err := stripLink(link, frame)
	if err != nil {
		return Segment{}, err
	}
	parser := d.parsers[first]
	if parser == nil {
		return Segment{}, ErrNotTCP
	}
	if err := parser.DecodeLayers(rest, &d.decoded); err != nil {
		return Segment{}, fmt.Errorf("%w: %w", errFrame, err)
	}
	s, err := d.segment()
	s.Interface = place
	return s, err
}

// network is the innermost IP header of the frame.
type network struct {
	from, to netip.Addr
	ttl      uint8
	protocol layers.IPProtocol
	payload  []byte
	missing  int // payload bytes that the header claims and the capture lacks
	id       uint16
	df       bool
}

func (d *Decoder) segment() (Segment, error) {
	var ip network
	isTCP := false
	for _, layer := range d.decoded {
		switch layer {
		case layers.LayerTypeIPv4:
			ip = d.network4()
		case layers.LayerTypeIPv6:
			ip = d.network6()
		case layers.LayerTypeIPv6HopByHop, layers.LayerTypeIPv6Routing, layers.LayerTypeIPv6Destination:
			ip.protocol, ip.payload = d.skip.NextHeader, d.skip.Payload
		case layers.LayerTypeIPv6Fragment:
			ip.protocol, ip.payload = d.fragment.next, d.fragment.payload
		case layers.LayerTypeTCP:
			isTCP = true
		}
	}
	switch {
	case !ip.from.IsValid():
		return Segment{}, ErrNotTCP
	case isTCP:
		return d.tcp.segment(ip), nil
	case ip.protocol == layers.IPProtocolICMPv4:
		return decodeICMP4(ip)
	case ip.protocol == layers.IPProtocolICMPv6:
		return decodeICMP6(ip)
	}
	return Segment{}, ErrNotTCP
}

func (d *Decoder) network4() network {
	from, _ := netip.AddrFromSlice(d.ip4.SrcIP)
	to, _ := netip.AddrFromSlice(d.ip4.DstIP)
	ip := network{from: from, to: to, ttl: d.ip4.TTL, payload: d.ip4.Payload, id: d.ip4.Id, df: d.ip4.Flags&layers.IPv4DontFragment != 0}
	ip.missing = max(0, int(d.ip4.Length)-len(d.ip4.Contents)-len(d.ip4.Payload))
	if d.ip4.FragOffset == 0 {
		ip.protocol = d.ip4.Protocol
	}
	return ip
}

func (d *Decoder) network6() network {
	from, _ := netip.AddrFromSlice(d.ip6.SrcIP)
	to, _ := netip.AddrFromSlice(d.ip6.DstIP)
	ip := network{from: from, to: to, ttl: d.ip6.HopLimit, payload: d.ip6.Payload, protocol: d.ip6.NextHeader}
	claimed := int(d.ip6.Length)
	if d.ip6.HopByHop != nil {
		ip.protocol = d.ip6.HopByHop.NextHeader
		claimed -= d.ip6.HopByHop.ActualLength
	}
	ip.missing = max(0, claimed-len(d.ip6.Payload))
	return ip
}

// tcpLayer is gopacket's TCP, with one difference: where the options are
// damaged or cut off by the snaplen the fixed header is still good.
type tcpLayer struct{ layers.TCP }

// DecodeFromBytes implements gopacket.DecodingLayer.
func (t *tcpLayer) DecodeFromBytes(data []byte, feedback gopacket.DecodeFeedback) error {
	t.Payload = nil
	err := t.TCP.DecodeFromBytes(data, feedback)
	if err != nil && len(data) >= 20 && t.DataOffset >= 5 {
		return nil
	}
	return err
}

// NextLayerType ends the decoding: what TCP carries is of no interest.
func (t *tcpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypePayload }

func (t *tcpLayer) segment(ip network) Segment {
	s := Segment{
		From: netip.AddrPortFrom(ip.from, uint16(t.SrcPort)),
		To:   netip.AddrPortFrom(ip.to, uint16(t.DstPort)),
		Seq:  t.Seq, Ack: t.Ack, Window: t.Window, TTL: ip.ttl,
		PayloadLen: len(t.Payload) + ip.missing,
		Options:    t.options(),
	}
	s.Kind = t.kind(s.PayloadLen)
	return s
}

func (t *tcpLayer) kind(payload int) Kind {
	switch {
	case t.RST && t.ACK:
		return KindRstAck
	case t.RST:
		return KindRst
	case t.SYN && t.FIN:
		return KindUnknown
	case t.SYN && t.ACK:
		return KindSynAck
	case t.SYN:
		return KindSyn
	case t.FIN:
		return KindFin
	case !t.ACK:
		return KindUnknown
	case payload > 0:
		return KindData
	}
	return KindAck
}

// options reads what RFC 9293 and RFC 7323 define, where lengths are right.
func (t *tcpLayer) options() (o Options) {
	for i, option := range t.Options {
		data := option.OptionData
		o.Layout |= uint64(min(option.OptionType, 15)) << (4 * i)
		switch {
		case option.OptionType == layers.TCPOptionKindMSS && len(data) == 2:
			o.MSS = binary.BigEndian.Uint16(data)
		case option.OptionType == layers.TCPOptionKindWindowScale && len(data) == 1:
			o.WindowScale, o.HasWindowScale = data[0], true
		case option.OptionType == layers.TCPOptionKindSACKPermitted:
			o.SACKPermitted = true
		case option.OptionType == layers.TCPOptionKindTimestamps && len(data) == 8:
			o.TSval, o.TSecr, o.HasTimestamps = binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]), true
		}
	}
	return o
}
