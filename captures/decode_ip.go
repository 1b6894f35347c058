package captures

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	errShort   = errors.New("a header is cut off")
	errVersion = errors.New("the version of the IP header is another one than was announced")
)

// ipv4Layer is gopacket's IPv4 with four differences. A total length of 0, as
// of a packet that was captured before the network card cut it into segments,
// stands for any length, not for one below 65536. Damaged options leave the
// fixed header good. A first fragment shows what it carries. And the version
// is looked at.
type ipv4Layer struct {
	layers.IPv4
	cut     int // bytes that the capture left out of the frame
	missing int // bytes that the header claims and the capture lacks
}

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *ipv4Layer) DecodeFromBytes(data []byte, feedback gopacket.DecodeFeedback) error {
	switch {
	case len(data) < 20:
		return errShort
	case data[0]>>4 != 4:
		return errVersion
	case binary.BigEndian.Uint16(data[2:]) == 0:
		return l.decodeLong(data, feedback)
	}
	err := l.IPv4.DecodeFromBytes(data, feedback)
	l.missing = max(0, int(l.Length)-len(data))
	if header := int(l.IHL) * 4; err != nil && header >= 20 && header <= len(data) && header <= int(l.Length) {
		return nil
	}
	return err
}

// decodeLong lets gopacket decode the header alone.
func (l *ipv4Layer) decodeLong(data []byte, feedback gopacket.DecodeFeedback) error {
	header := int(data[0]&15) * 4
	if header < 20 || header > len(data) {
		return errShort
	}
	if err := l.IPv4.DecodeFromBytes(data[:header], feedback); err != nil && l.Contents == nil {
		return err
	}
	l.Payload, l.missing = data[header:], l.cut
	return nil
}

// NextLayerType implements gopacket.DecodingLayer.
func (l *ipv4Layer) NextLayerType() gopacket.LayerType {
	if l.FragOffset != 0 {
		return gopacket.LayerTypeFragment
	}
	return l.Protocol.LayerType()
}

func (l *ipv4Layer) network() network {
	ip := network{
		from: netip.AddrFrom4([4]byte(l.SrcIP)), to: netip.AddrFrom4([4]byte(l.DstIP)), ttl: l.TTL,
		payload: l.Payload, missing: l.missing, id: l.Id, df: l.Flags&layers.IPv4DontFragment != 0,
	}
	if l.FragOffset == 0 {
		ip.protocol = l.Protocol
	}
	return ip
}

// ipv6Layer replaces gopacket's IPv6, which decodes the hop-by-hop header with
// it: refuses a packet for an option there, leaves the header in front of the
// payload of a jumbogram and the padding of the frame behind the payload of
// another packet, and refuses the length 0 of a packet that was captured before
// the network card cut it into segments. Here a hop-by-hop header is passed
// over like every other.
type ipv6Layer struct {
	layers.BaseLayer
	next     layers.IPProtocol
	hops     uint8
	from, to net.IP
	cut      int
	missing  int
}

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *ipv6Layer) DecodeFromBytes(data []byte, _ gopacket.DecodeFeedback) error {
	switch {
	case len(data) < 40:
		return errShort
	case data[0]>>4 != 6:
		return errVersion
	}
	l.next, l.hops, l.from, l.to = layers.IPProtocol(data[6]), data[7], data[8:24], data[24:40]
	payload, length := data[40:], int(binary.BigEndian.Uint16(data[4:]))
	if length == 0 {
		length = jumbo(l.next, payload, len(payload)+l.cut)
	}
	l.missing = max(0, length-len(payload))
	l.BaseLayer = layers.BaseLayer{Contents: data[:40], Payload: payload[:min(length, len(payload))]}
	return nil
}

// jumbo is the length by the option of RFC 2675, which Linux puts first, or
// else the given one.
func jumbo(next layers.IPProtocol, payload []byte, otherwise int) int {
	if next != layers.IPProtocolIPv6HopByHop || len(payload) < 8 || payload[2] != 0xc2 || payload[3] != 4 {
		return otherwise
	}
	return int(min(binary.BigEndian.Uint32(payload[4:]), 1<<30))
}

// CanDecode implements gopacket.DecodingLayer.
func (l *ipv6Layer) CanDecode() gopacket.LayerClass { return layers.LayerTypeIPv6 }

// NextLayerType implements gopacket.DecodingLayer.
func (l *ipv6Layer) NextLayerType() gopacket.LayerType { return l.next.LayerType() }

func (l *ipv6Layer) network() network {
	return network{
		from: netip.AddrFrom16([16]byte(l.from)), to: netip.AddrFrom16([16]byte(l.to)), ttl: l.hops,
		protocol: l.next, payload: l.Payload, missing: l.missing,
	}
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
