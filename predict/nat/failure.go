package nat

import (
	"net/netip"
	"time"
)

// OutboundError decides about an ICMP error that arrives from inside. Quoted is
// the packet it is about, as the inside got it. What is forwarded quotes
// Action.Packet instead, and comes from the external address Packet.To.
func (t *Translator) OutboundError(quoted Packet, now time.Time) Action {
	setDefault(&quoted.Protocol, TCP)
	t.expire(now)
	s := t.fromInside[flow{quoted.Protocol, quoted.To, quoted.From}]
	if s == nil {
		return t.dropError(quoted, true)
	}
	p := quoted
	p.To, p.Ack = s.outside, p.Ack+s.ackShift(p)
	return t.passError(s, p, true)
}

// InboundError decides about an ICMP error that arrives from outside (RFC 5508
// section 4.2). Quoted is the packet it is about, as it was sent to the outside.
// What is forwarded quotes Action.Packet, and goes to the inside address of
// Packet.From.
func (t *Translator) InboundError(quoted Packet, now time.Time) Action {
	setDefault(&quoted.Protocol, TCP)
	t.expire(now)
	s := t.fromOutside[flow{quoted.Protocol, quoted.From, quoted.To}]
	if s == nil || s.role != carried {
		return t.dropError(quoted, false)
	}
	p := quoted
	p.From, p.Seq = s.mapping.key.inside, p.Seq-s.shift
	return t.passError(s, p, false)
}

func (t *Translator) dropError(quoted Packet, outbound bool) Action {
	t.reportError(ErrorDropped, quoted, outbound, netip.AddrPort{}, "an ICMP error about no session")
	return Action{Verdict: Dropped, Packet: quoted, Kind: ErrorDropped, Reason: "an ICMP error about no session"}
}

func (t *Translator) passError(s *session, p Packet, outbound bool) Action {
	kind := ErrorPassed
	if t.config.Errors == ErrorsKill && s.protocol == TCP && !s.established() {
		kind = ErrorKilled
	}
	t.reportError(kind, p, outbound, s.outside, "")
	if kind == ErrorKilled {
		t.end(s)
	}
	return Action{Verdict: Forwarded, Packet: p, Inside: !outbound, Kind: kind}
}

// reportError tells of an ICMP error by the endpoints of the packet it quotes,
// which went the other way.
func (t *Translator) reportError(k Kind, quoted Packet, outbound bool, outside netip.AddrPort, reason string) {
	if t.config.Observe == nil {
		return
	}
	d := Decision{At: t.now, Kind: k, Protocol: quoted.Protocol, Outbound: outbound, Outside: outside,
		Inside: quoted.From, Remote: quoted.To, Flags: quoted.Flags, Seq: quoted.Seq, Ack: quoted.Ack, Reason: reason}
	if outbound {
		d.Inside, d.Remote = quoted.To, quoted.From
	}
	t.config.Observe(d)
}
