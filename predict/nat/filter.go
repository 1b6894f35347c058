package nat

import (
	"net/netip"
	"time"
)

// admits is the filtering rule (RFC 4787 section 5).
func (t *Translator) admits(m *mapping, from netip.AddrPort) bool {
	switch t.config.Filtering {
	case FilterEndpointIndependent:
		return true
	case FilterAddressDependent:
		return m.peers[from.Addr()] > 0
	}
	return false // its session would have been found
}

// unsolicited decides about a packet from outside that belongs to nothing.
func (t *Translator) unsolicited(p Packet, reason string) Action {
	if p.Protocol == ICMP || p.resets() { // RFC 9293 section 3.10.7.1: a RST is never answered
		return t.drop(Filtered, p, false, p.To, reason)
	}
	switch t.config.Unsolicited {
	case Reset:
		if p.Protocol == TCP {
			return t.refuse(AnsweredReset, p, reason)
		}
		return t.reject(p, reason)
	case Unreachable:
		return t.reject(p, reason)
	case Hold:
		if p.opens() {
			return t.hold(p, reason)
		}
	case Poison:
		if p.Protocol == TCP {
			return t.poison(p, reason)
		}
		return t.reject(p, reason)
	}
	return t.drop(Filtered, p, false, p.To, reason)
}

func (t *Translator) refuse(k Kind, p Packet, reason string) Action {
	t.report(k, p, false, p.To, reason)
	return Action{Verdict: Refused, Packet: p.refuse(), Kind: k, Reason: reason}
}

func (t *Translator) reject(p Packet, reason string) Action {
	t.report(AnsweredError, p, false, p.To, reason)
	return Action{Verdict: Rejected, Packet: p, Kind: AnsweredError, Reason: reason}
}

// hold keeps a SYN for a while (RFC 5382 section 4.3, REQ-4).
func (t *Translator) hold(p Packet, reason string) Action {
	if t.holding < maxHeld {
		t.holding++
		t.remember(&session{role: held, packet: p, quote: t.quoted()}, p, t.config.HoldTime)
		return t.drop(Held, p, false, p.To, reason)
	}
	return t.drop(Filtered, p, false, p.To, "too many SYNs are held already")
}

// maxHeld bounds what strangers can make a NAT remember.
const maxHeld = 4096

// poison answers a SYN and takes its endpoints.
func (t *Translator) poison(p Packet, reason string) Action {
	if !p.opens() || t.holding >= maxHeld {
		return t.refuse(AnsweredReset, p, reason)
	}
	t.holding++
	s := &session{role: poisoned}
	if !t.config.Firewall {
		s.took = t.allocator(TCP).TakeExactly(p.To, p.From)
	}
	t.remember(s, p, t.config.Closed)
	return t.refuse(Poisoned, p, reason)
}

// remember enters a session without a mapping.
func (t *Translator) remember(s *session, p Packet, life time.Duration) {
	s.protocol, s.outside, s.remote, s.index = p.Protocol, p.To, p.From, -1
	t.fromOutside[flow{p.Protocol, p.To, p.From}] = s
	s.deadline = t.clock + life
	t.timers.set(s)
}

// again decides about another packet from the peer of a held or poisoned SYN.
func (t *Translator) again(s *session, p Packet) Action {
	switch {
	case s.role == held:
		return t.drop(Filtered, p, false, p.To, "its SYN is held already")
	case p.resets():
		return t.drop(Filtered, p, false, p.To, "the NAT has taken a SYN from this peer itself")
	}
	s.deadline = t.clock + t.config.Closed
	return t.refuse(AnsweredReset, p, "the NAT has taken a SYN from this peer itself")
}
