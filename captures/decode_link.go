package captures

import (
	"encoding/binary"
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
	case LinkRaw, LinkIPv4, LinkIPv6, linkRawOther, linkRawOpenBSD:
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
	case LinkPPP, linkPPPSerial:
		if next, rest, err = decodePPP(frame); err != nil {
			break
		}
		return next, rest, 0, nil
	case linkPPPEther:
		return layers.LayerTypePPPoE, frame, 0, nil
	default:
		return 0, nil, 0, ErrNotTCP
	}
	return 0, nil, 0, fmt.Errorf("%w: the link header is cut off", errFrame)
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

// The types of Ethernet frames (IEEE 802 numbers) that lead to TCP.
const (
	etherIPv4       = 0x0800
	etherIPv6       = 0x86dd
	etherVLAN       = 0x8100
	etherService    = 0x88a8 // the outer tag of IEEE 802.1ad
	etherServiceOld = 0x9100 // the same before there was a standard
)

func etherTypeOf(t uint16) gopacket.LayerType {
	switch t {
	case etherIPv4:
		return layers.LayerTypeIPv4
	case etherIPv6:
		return layers.LayerTypeIPv6
	case etherVLAN, etherService, etherServiceOld:
		return layers.LayerTypeDot1Q
	case uint16(layers.EthernetTypePPPoESession):
		return layers.LayerTypePPPoE
	case uint16(layers.EthernetTypeMPLSUnicast), uint16(layers.EthernetTypeMPLSMulticast):
		return layers.LayerTypeMPLS
	case uint16(layers.EthernetTypeTransparentEthernetBridging):
		return layers.LayerTypeEthernet
	}
	return gopacket.LayerTypeZero
}

func pppType(protocol uint16) gopacket.LayerType {
	switch protocol {
	case 0x0021:
		return layers.LayerTypeIPv4
	case 0x0057:
		return layers.LayerTypeIPv6
	case 0x0281:
		return layers.LayerTypeMPLS
	}
	return gopacket.LayerTypeZero
}

// etherLayer is gopacket's Ethernet; what follows is chosen here.
type etherLayer struct{ layers.Ethernet }

// NextLayerType implements gopacket.DecodingLayer.
func (e *etherLayer) NextLayerType() gopacket.LayerType { return etherTypeOf(uint16(e.EthernetType)) }

// vlanLayer is gopacket's Dot1Q; what follows is chosen here.
type vlanLayer struct{ layers.Dot1Q }

// NextLayerType implements gopacket.DecodingLayer.
func (v *vlanLayer) NextLayerType() gopacket.LayerType { return etherTypeOf(uint16(v.Type)) }
