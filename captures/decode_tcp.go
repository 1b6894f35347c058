package captures

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// tcpLayer is gopacket's TCP, with one difference: where the options are
// damaged or cut off by the snaplen the fixed header is still good.
type tcpLayer struct {
	layers.TCP
	captured int // bytes of header and payload
}

// DecodeFromBytes implements gopacket.DecodingLayer.
func (t *tcpLayer) DecodeFromBytes(data []byte, feedback gopacket.DecodeFeedback) error {
	t.captured = len(data)
	err := t.TCP.DecodeFromBytes(data, feedback)
	if err != nil && len(data) >= 20 && t.DataOffset >= 5 {
		return nil
	}
	return err
}

// NextLayerType ends the decoding: what TCP carries is of no interest.
func (t *tcpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypePayload }

func (t *tcpLayer) segment(ip network) Segment {
	payload := max(0, t.captured+ip.missing-int(t.DataOffset)*4)
	return Segment{
		From: netip.AddrPortFrom(ip.from, uint16(t.SrcPort)),
		To:   netip.AddrPortFrom(ip.to, uint16(t.DstPort)),
		Kind: kindOf(t.flags(), payload),
		Seq:  t.Seq, Ack: t.Ack, Window: t.Window, TTL: ip.ttl,
		ID: ip.id, DontFragment: ip.df,
		PayloadLen: payload,
		Options:    t.options(),
	}
}

// The control bits of RFC 9293 section 3.1 that tell kinds apart.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	_ // PSH
	flagACK
)

func (t *tcpLayer) flags() (f byte) {
	if t.FIN {
		f |= flagFIN
	}
	if t.SYN {
		f |= flagSYN
	}
	if t.RST {
		f |= flagRST
	}
	if t.ACK {
		f |= flagACK
	}
	return f
}

// kindOf is what a segment with these control bits and that much payload does.
func kindOf(flags byte, payload int) Kind {
	switch flags & (flagFIN | flagSYN | flagRST | flagACK) {
	case flagACK:
		if payload > 0 {
			return KindData
		}
		return KindAck
	case flagSYN:
		return KindSyn
	case flagSYN | flagACK:
		return KindSynAck
	case flagRST, flagRST | flagSYN, flagRST | flagFIN, flagRST | flagSYN | flagFIN:
		return KindRst
	case flagFIN, flagFIN | flagACK:
		return KindFin
	case 0, flagSYN | flagFIN, flagSYN | flagFIN | flagACK:
		return KindUnknown
	}
	return KindRstAck
}

// kinds is kindOf as a table, which takes no branches: by the lower five control
// bits, and 32 more with a payload.
var kinds = func() (table [64]Kind) {
	for i := range table {
		table[i] = kindOf(byte(i&31), i>>5)
	}
	return table
}()

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
