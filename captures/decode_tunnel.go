package captures

import (
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// A shim is a header between others. Given what follows and the bytes of the
// frame, it says what comes next, LayerTypeZero for nothing of interest, and
// where that begins.
type shim func(data []byte) (next gopacket.LayerType, rest []byte, err error)

// shims are the headers for which gopacket has no DecodingLayer, or one that
// panics on what is cut off (GRE, Geneve, AH).
var shims = map[gopacket.LayerType]shim{
	layers.LayerTypePPPoE:   decodePPPoE,
	layers.LayerTypePPP:     decodePPP,
	layers.LayerTypeMPLS:    decodeMPLS,
	layers.LayerTypeGRE:     decodeGRE,
	layers.LayerTypeUDP:     decodeUDP,
	layers.LayerTypeVXLAN:   decodeVXLAN,
	layers.LayerTypeGeneve:  decodeGeneve,
	layers.LayerTypeIPSecAH: decodeAH,
}

// shimLayer makes a gopacket.DecodingLayer of a shim.
type shimLayer struct {
	kind    gopacket.LayerType
	decode  shim
	next    gopacket.LayerType
	payload []byte
}

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *shimLayer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) (err error) {
	l.next, l.payload, err = l.decode(data)
	return err
}

// CanDecode implements gopacket.DecodingLayer.
func (l *shimLayer) CanDecode() gopacket.LayerClass { return l.kind }

// NextLayerType implements gopacket.DecodingLayer.
func (l *shimLayer) NextLayerType() gopacket.LayerType { return l.next }

// LayerPayload implements gopacket.DecodingLayer.
func (l *shimLayer) LayerPayload() []byte { return l.payload }

// after is for a header of n bytes.
func after(n int, data []byte, next gopacket.LayerType) (gopacket.LayerType, []byte, error) {
	if len(data) < n {
		return gopacket.LayerTypeZero, nil, errShort
	}
	return next, data[n:], nil
}

// decodePPPoE is for sessions, RFC 2516 section 4.
func decodePPPoE(data []byte) (gopacket.LayerType, []byte, error) {
	return after(6, data, layers.LayerTypePPP)
}

// decodePPP takes the protocol number, which may be compressed to one byte
// (RFC 1661 section 6.5), behind the address and control fields of HDLC framing
// (RFC 1662 section 3.1), which may be left out.
func decodePPP(data []byte) (gopacket.LayerType, []byte, error) {
	if len(data) >= 2 && data[0] == 0xff && data[1] == 0x03 {
		data = data[2:]
	}
	if len(data) > 0 && data[0]&1 == 1 {
		return after(1, data, pppType(uint16(data[0])))
	}
	if len(data) < 2 {
		return gopacket.LayerTypeZero, nil, errShort
	}
	return after(2, data, pppType(binary.BigEndian.Uint16(data)))
}

// decodeMPLS passes over all labels (RFC 3032). What they carry is not
// announced: a first nibble of 0 is a control word before Ethernet (RFC 4448).
func decodeMPLS(data []byte) (gopacket.LayerType, []byte, error) {
	for ; len(data) >= 5; data = data[4:] {
		if data[2]&1 == 0 {
			continue
		}
		if data[4]>>4 == 0 {
			return after(8, data, layers.LayerTypeEthernet)
		}
		return after(4, data, versionOf(data[4:]))
	}
	return gopacket.LayerTypeZero, nil, errShort
}

// decodeGRE reads RFC 2784 with the fields of RFC 2890, of RFC 1701 without
// routing, and of RFC 2637, which carries PPP.
func decodeGRE(data []byte) (gopacket.LayerType, []byte, error) {
	if len(data) < 4 {
		return gopacket.LayerTypeZero, nil, errShort
	}
	flags, protocol, length := binary.BigEndian.Uint16(data), binary.BigEndian.Uint16(data[2:]), 4
	for _, present := range []uint16{0x8000, 0x2000, 0x1000} { // checksum, key, sequence number
		if flags&present != 0 {
			length += 4
		}
	}
	if flags&7 == 1 && flags&0x80 != 0 { // acknowledgement number
		length += 4
	}
	if flags&0x4000 != 0 || flags&7 > 1 {
		return gopacket.LayerTypeZero, nil, nil
	}
	switch protocol {
	case 0x88be: // ERSPAN type II; type I has no header and no sequence number
		if flags&0x1000 != 0 {
			length += 8
		}
		return after(length, data, layers.LayerTypeEthernet)
	case 0x880b:
		return after(length, data, layers.LayerTypePPP)
	}
	return after(length, data, etherTypeOf(protocol))
}

// The destination ports of tunnels: VXLAN by RFC 7348 and as Linux had it
// before, and Geneve by RFC 8926.
const (
	portVXLAN      = 4789
	portVXLANLinux = 8472
	portGeneve     = 6081
)

func tunnelOf(port uint16) gopacket.LayerType {
	switch port {
	case portVXLAN, portVXLANLinux:
		return layers.LayerTypeVXLAN
	case portGeneve:
		return layers.LayerTypeGeneve
	}
	return gopacket.LayerTypeZero
}

// decodeUDP takes no offence at other UDP, whatever it is.
func decodeUDP(data []byte) (gopacket.LayerType, []byte, error) {
	if len(data) < 8 {
		return gopacket.LayerTypeZero, nil, nil
	}
	return tunnelOf(binary.BigEndian.Uint16(data[2:])), data[8:], nil
}

// decodeVXLAN looks at the flag that says that there is a network identifier;
// without it this is other traffic on that port.
func decodeVXLAN(data []byte) (gopacket.LayerType, []byte, error) {
	if len(data) < 8 || data[0]&8 == 0 {
		return gopacket.LayerTypeZero, nil, nil
	}
	return after(8, data, layers.LayerTypeEthernet)
}

func decodeGeneve(data []byte) (gopacket.LayerType, []byte, error) {
	if len(data) < 8 || data[0]>>6 != 0 {
		return gopacket.LayerTypeZero, nil, nil
	}
	return after(8+int(data[0]&0x3f)*4, data, etherTypeOf(binary.BigEndian.Uint16(data[2:])))
}

// decodeAH passes over an authentication header, RFC 4302 section 2.
func decodeAH(data []byte) (gopacket.LayerType, []byte, error) {
	if len(data) < 12 {
		return gopacket.LayerTypeZero, nil, errShort
	}
	return after((int(data[1])+2)*4, data, layers.IPProtocol(data[0]).LayerType())
}
