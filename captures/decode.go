package captures

import (
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

// Decoder turns frames into segments. Of a packet in a tunnel it decodes the
// innermost one. It reuses its layers from frame to frame and is not safe for
// concurrent use.
type Decoder struct {
	ethernet etherLayer
	vlan     vlanLayer
	ip4      ipv4Layer
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
	all := []gopacket.DecodingLayer{&d.ethernet, &d.vlan, &d.ip4, &d.ip6, &d.skip, &d.fragment, &d.tcp}
	for kind, decode := range shims {
		all = append(all, &shimLayer{kind: kind, decode: decode})
	}
	firsts := []gopacket.LayerType{layers.LayerTypeEthernet, layers.LayerTypeDot1Q, layers.LayerTypePPPoE, layers.LayerTypeMPLS, layers.LayerTypeIPv4, layers.LayerTypeIPv6}
	for _, first := range firsts {
		p := gopacket.NewDecodingLayerParser(first, all...)
		p.IgnoreUnsupported = true
		d.parsers[first] = p
	}
	return d
}

// Decode decodes one frame. The error is ErrNotTCP for what is sound but of no
// interest. File, Packet and Time of the segment are left to the caller;
// Interface is set only where the frame itself names one.
func (d *Decoder) Decode(link LinkType, frame []byte) (Segment, error) {
	return d.decode(link, frame, 0)
}

// decode is Decode of a frame of which the capture left out some bytes, which
// count where a header does not tell the length.
func (d *Decoder) decode(link LinkType, frame []byte, cut int) (Segment, error) {
	first, rest, place, err := stripLink(link, frame)
	if err != nil {
		return Segment{}, err
	}
	parser := d.parsers[first]
	if parser == nil {
		return Segment{}, ErrNotTCP
	}
	d.ip4.cut, d.ip6.cut = cut, cut
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
			ip = d.ip4.network()
		case layers.LayerTypeIPv6:
			ip = d.ip6.network()
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
