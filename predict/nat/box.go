package nat

import (
	"net/netip"
	"time"
)

// Emission is an IP packet that a Box sends, and where to.
type Emission struct {
	Inside bool
	Packet []byte
}

// Box is one NAT for IP packets. It rewrites what passes, and sends its own
// RSTs and ICMP errors. It does not decrement TTLs: the router that it stands in
// does.
//
// Packets are changed in place. What is returned is valid until the next call.
type Box struct {
	config     Config
	translator *Translator
	out        []Emission
	buffer     []byte // of the Box's own answers
	options    bool   // TCP options are of interest
}

// NewBox checks the configuration.
func NewBox(c Config) (*Box, error) {
	t, err := NewTranslator(c)
	if err != nil {
		return nil, err
	}
	return &Box{config: t.config, translator: t, options: t.config.Sequence == SequenceWindow}, nil
}

// Outbound takes a packet that comes from inside.
func (b *Box) Outbound(packet []byte, now time.Time) []Emission { return b.process(packet, true, now) }

// Inbound takes a packet that comes from outside.
func (b *Box) Inbound(packet []byte, now time.Time) []Emission { return b.process(packet, false, now) }

// Next is when Advance has something to do, at the earliest; zero for never.
func (b *Box) Next() time.Time { return b.translator.Next() }

// Advance ends what is over by now, and returns the answers that were due.
func (b *Box) Advance(now time.Time) []Emission {
	b.out, b.buffer = b.out[:0], b.buffer[:0]
	for _, a := range b.translator.Advance(now) {
		b.answer(a, a.quote)
	}
	return b.out
}

func (b *Box) process(packet []byte, outbound bool, now time.Time) []Emission {
	b.out, b.buffer = b.out[:0], b.buffer[:0]
	d, wrong := cut(packet, false)
	if wrong == "" && d.v6 && !b.config.Firewall {
		wrong = "IPv6, which this NAT does not translate"
	}
	if wrong == "" {
		b.translator.packet = packet[:len(d.ip)+len(d.segment)]
		wrong = b.transport(d, outbound, now)
		b.translator.packet = nil
	}
	if wrong != "" {
		b.malformed(d, wrong, outbound, now)
	}
	return b.out
}

// transport hands a packet to what knows its protocol, and returns what is
// wrong with it.
func (b *Box) transport(d datagram, outbound bool, now time.Time) string {
	var p Packet
	var wrong string
	switch d.number {
	case numberTCP:
		p, wrong = d.tcp(b.options)
	case numberUDP:
		p, wrong = d.udp()
	case d.icmpNumber():
		switch m := d.icmpMessage(); {
		case m == errorMessage:
			return b.failure(d, outbound, now)
		case m == echoRequest && outbound, m == echoReply && !outbound:
			p = d.query(m)
		default:
			wrong = "an ICMP message that does not pass a NAT"
		}
	default:
		wrong = "a protocol that has no ports"
	}
	if wrong == "" {
		b.carry(d, p, b.decide(p, outbound, now))
	}
	return wrong
}

func (b *Box) decide(p Packet, outbound bool, now time.Time) Action {
	if outbound {
		return b.translator.Outbound(p, now)
	}
	return b.translator.Inbound(p, now)
}

// carry does what was decided.
func (b *Box) carry(d datagram, p Packet, a Action) {
	if a.Verdict != Forwarded {
		b.answer(a, b.translator.packet)
		return
	}
	if !b.config.Firewall {
		d.rewrite(p, a.Packet)
	}
	if p.Protocol == TCP && p.Flags.Has(SYN) && (b.config.StripOptions || b.config.ClampMSS != 0) {
		d.shapeSYN(b.config.StripOptions, b.config.ClampMSS)
	}
	b.emit(d, a.Inside)
}

func (b *Box) emit(d datagram, inside bool) {
	if b.config.RewriteTTL != 0 {
		d.setTTL(b.config.RewriteTTL)
	}
	b.out = append(b.out, Emission{Inside: inside, Packet: d.ip[:len(d.ip)+len(d.segment)]})
}

// answer sends the Box's own packet, if any.
func (b *Box) answer(a Action, quote []byte) {
	at := len(b.buffer)
	switch a.Verdict {
	case Refused:
		b.buffer = appendReset(b.buffer, a.Packet)
	case Rejected:
		b.buffer = appendError(b.buffer, a.Packet, quote, b.config.Firewall)
	default:
		return
	}
	b.out = append(b.out, Emission{Inside: a.Inside, Packet: b.buffer[at:len(b.buffer):len(b.buffer)]})
}

// malformed reports a packet that is dropped without having been understood.
func (b *Box) malformed(d datagram, wrong string, outbound bool, now time.Time) {
	if b.config.Observe == nil {
		return
	}
	m := Decision{At: now, Kind: Malformed, Outbound: outbound, Reason: wrong}
	if d.ip != nil {
		m.Inside, m.Remote = netip.AddrPortFrom(d.from, 0), netip.AddrPortFrom(d.to, 0)
		if !outbound {
			m.Inside, m.Outside, m.Remote = netip.AddrPort{}, m.Remote, m.Inside
		}
	}
	b.config.Observe(m)
}
