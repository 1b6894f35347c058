package nat

import (
	"encoding/binary"
	"time"
)

// failure carries an ICMP error, and translates the packet that it quotes (RFC
// 5508 section 4.2). It returns what is wrong with it.
func (b *Box) failure(d datagram, outbound bool, now time.Time) string {
	if !d.checksumHolds() {
		return "an ICMP error with a wrong checksum" // RFC 5508 REQ-3
	}
	quoted, wrong := cut(d.segment[sizeICMP:], true)
	if wrong != "" {
		return "its quote is " + wrong
	}
	if quoted.v6 != d.v6 {
		return "it quotes another IP version"
	}
	p, wrong := quoted.quote()
	if wrong != "" {
		return wrong
	}
	if outbound {
		b.carryError(d, quoted, p, b.translator.OutboundError(p, now), outbound)
	} else {
		b.carryError(d, quoted, p, b.translator.InboundError(p, now), outbound)
	}
	return ""
}

func (b *Box) carryError(d, quoted datagram, p Packet, a Action, outbound bool) {
	if a.Verdict != Forwarded {
		return
	}
	if !b.config.Firewall {
		quoted.rewrite(p, a.Packet)
		var c change
		if outbound {
			c.address(d.ip[12:16], a.Packet.To.Addr())
		} else {
			c.address(d.ip[16:20], a.Packet.From.Addr())
		}
		c.apply(d.ip[10:])
		d.segment[2], d.segment[3] = 0, 0
		binary.BigEndian.PutUint16(d.segment[2:], ^fold(sum(d.segment, 0)))
	}
	b.emit(d, a.Inside)
}

// checksumHolds verifies an ICMP message.
func (d datagram) checksumHolds() bool {
	initial := uint64(0)
	if d.v6 {
		initial = pseudoSum(d.ip, numberICMPv6, len(d.segment))
	}
	return fold(sum(d.segment, initial)) == 0xffff
}
