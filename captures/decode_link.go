package captures

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// stripLink removes a link header that gopacket lacks or cannot be trusted
// with (its LinuxSLL panics on a long address), and says what comes next.
// place tells apart the interfaces that one cooked capture mixes.
func stripLink(link LinkType, frame []byte) (next gopacket.LayerType, rest []byte, place int, err error) {
	switch link {
	case LinkEthernet:
		return layers.LayerTypeEthernet, frame, 0, nil
	case LinkRaw, LinkIPv4, LinkIPv6, 12, 14: // 12 and 14 are RAW in files of some systems
		return versionOf(frame), frame, 0, nil
	case LinkSLL:
		if len(frame) < 16 {
			break
		}
		return etherTypeOf(binary.BigEndian.Uint16(frame[14:])), frame[16:], 0, nil
	case LinkSLL2:
		if len(frame) < 20 {
			break
		}
		index := binary.BigEndian.Uint32(frame[4:])
		return etherTypeOf(binary.BigEndian.Uint16(frame)), frame[20:], int(index & 0x7fffffff), nil
	case LinkNull, LinkLoop:
		if len(frame) < 4 {
			break
		}
		return versionOf(frame[4:]), frame[4:], 0, nil
	case LinkPPP:
		return stripPPP(frame)
	default:
		return 0, nil, 0, ErrNotTCP
	}
	return 0, nil, 0, fmt.Errorf("%w: the link header is cut off", errFrame)
}

func stripPPP(frame []byte) (gopacket.LayerType, []byte, int, error) {
	if len(frame) >= 2 && frame[0] == 0xff && frame[1] == 0x03 { // HDLC framing, RFC 1662
		frame = frame[2:]
	}
	if len(frame) < 2 {
		return 0, nil, 0, fmt.Errorf("%w: the link header is cut off", errFrame)
	}
	return pppType(binary.BigEndian.Uint16(frame)), frame[2:], 0, nil
}

// versionOf goes by the IP version: the address family of a NULL header has
// the byte order and the numbers of the machine that wrote it.
func versionOf(packet []byte) gopacket.LayerType {
	if len(packet) == 0 {
		return gopacket.LayerTypeZero
	}
	switch packet[0] >> 4 {
	case 4:
		return layers.LayerTypeIPv4
	case 6:
		return layers.LayerTypeIPv6
	}
	return gopacket.LayerTypeZero
}

func etherTypeOf(t uint16) gopacket.LayerType {
	switch layers.EthernetType(t) {
	case layers.EthernetTypeIPv4:
		return layers.LayerTypeIPv4
	case layers.EthernetTypeIPv6:
		return layers.LayerTypeIPv6
	case layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ:
		return layers.LayerTypeDot1Q
	case layers.EthernetTypePPPoESession:
		return layers.LayerTypePPPoE
	}
	return gopacket.LayerTypeZero
}

func pppType(protocol uint16) gopacket.LayerType {
	switch protocol {
	case 0x0021:
		return layers.LayerTypeIPv4
	case 0x0057:
		return layers.LayerTypeIPv6
	}
	return gopacket.LayerTypeZero
}

var errShort = errors.New("a header is cut off")

// pppoeLayer is a PPPoE session header and the PPP protocol number behind it
// (RFC 2516), which gopacket has no DecodingLayer for.
type pppoeLayer struct {
	next    gopacket.LayerType
	payload []byte
}

// DecodeFromBytes implements gopacket.DecodingLayer.
func (p *pppoeLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	if len(data) < 8 {
		return errShort
	}
	p.next, p.payload = pppType(binary.BigEndian.Uint16(data[6:])), data[8:]
	return nil
}

// CanDecode implements gopacket.DecodingLayer.
func (p *pppoeLayer) CanDecode() gopacket.LayerClass { return layers.LayerTypePPPoE }

// NextLayerType implements gopacket.DecodingLayer.
func (p *pppoeLayer) NextLayerType() gopacket.LayerType { return p.next }

// LayerPayload implements gopacket.DecodingLayer.
func (p *pppoeLayer) LayerPayload() []byte { return p.payload }

// ipv6Layer is gopacket's IPv6, which leaves the hop-by-hop header in front of
// the payload of a jumbogram, and refuses the length 0 of a packet that was
// captured before the network card cut it into segments.
type ipv6Layer struct{ layers.IPv6 }

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *ipv6Layer) DecodeFromBytes(data []byte, feedback gopacket.DecodeFeedback) error {
	err := l.IPv6.DecodeFromBytes(data, feedback)
	if err != nil && (len(data) < 40 || l.Length != 0 || l.HopByHop != nil) {
		return err
	}
	if l.HopByHop != nil && l.Length == 0 {
		l.Payload = l.Payload[min(len(l.Payload), l.HopByHop.ActualLength):]
	}
	return nil
}

// fragmentLayer is the IPv6 fragment header (RFC 8200 section 4.5). Only a
// first fragment shows the header of what it carries.
type fragmentLayer struct {
	next    layers.IPProtocol
	payload []byte
}

// DecodeFromBytes implements gopacket.DecodingLayer.
func (f *fragmentLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	if len(data) < 8 {
		return errShort
	}
	f.next, f.payload = layers.IPProtocol(data[0]), data[8:]
	if binary.BigEndian.Uint16(data[2:])>>3 != 0 {
		f.next = layers.IPProtocolNoNextHeader
	}
	return nil
}

// CanDecode implements gopacket.DecodingLayer.
func (f *fragmentLayer) CanDecode() gopacket.LayerClass { return layers.LayerTypeIPv6Fragment }

// NextLayerType implements gopacket.DecodingLayer.
func (f *fragmentLayer) NextLayerType() gopacket.LayerType { return f.next.LayerType() }

// LayerPayload implements gopacket.DecodingLayer.
func (f *fragmentLayer) LayerPayload() []byte { return f.payload }
