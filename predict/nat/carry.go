package nat

import "net/netip"

func (t *Translator) outbound(p Packet) Action {
	s := t.fromInside[flow{p.Protocol, p.From, p.To}]
	if s != nil && s.closing && p.opens() && t.config.Mapping == PerConnection {
		s = nil // a new connection
	}
	if s == nil {
		var action Action
		if s, action = t.open(p); s == nil {
			return action
		}
	}
	return t.send(s, p)
}

// open makes the session that p starts from inside, or says why not.
func (t *Translator) open(p Packet) (*session, Action) {
	var tcp *connection
	switch {
	case p.Protocol != TCP:
	case t.config.Sequence == SequenceWindow:
		if tcp = newConnection(p); tcp == nil {
			return nil, t.drop(SequenceDropped, p, true, netip.AddrPort{}, "no connection starts like this")
		}
	case !p.opens():
		return nil, t.drop(NoMapping, p, true, netip.AddrPort{}, "no session, and not a SYN")
	}
	if !t.allowed(p) {
		return nil, t.drop(RateLimited, p, true, netip.AddrPort{}, "too many new sessions per second")
	}
	m, kind := t.mappingFor(p)
	if m == nil {
		return nil, t.drop(kind, p, true, netip.AddrPort{}, kind.String())
	}
	t.accept(p, m.outside)
	s := t.join(m, p.To)
	s.tcp, s.took = tcp, true
	if t.config.Sequence == SequenceRewrite && p.Protocol == TCP {
		s.shift = t.rand.Uint32()
	}
	if t.config.Filtering == FilterAddressDependent {
		if m.peers == nil {
			m.peers = map[netip.Addr]int{}
		}
		m.peers[p.To.Addr()]++
	}
	t.report(kind, p, true, m.outside, "")
	return s, Action{}
}

// allowed applies the SYNRate, of which a second's worth may come at once.
func (t *Translator) allowed(p Packet) bool {
	if t.config.SYNRate == 0 || p.Protocol != TCP {
		return true
	}
	rate := float64(t.config.SYNRate)
	t.tokens = min(rate, t.tokens+rate*(t.clock-t.refilled).Seconds())
	t.refilled = t.clock
	if t.tokens < 1 {
		return false
	}
	t.tokens--
	return true
}

// accept drops the held SYN that p answers by crossing it.
func (t *Translator) accept(p Packet, outside netip.AddrPort) {
	if s := t.fromOutside[flow{p.Protocol, outside, p.To}]; s != nil && s.role == held {
		t.report(HeldAccepted, s.packet, false, outside, "the inside has sent its own SYN")
		t.end(s)
	}
}

// join makes a session of a mapping.
func (t *Translator) join(m *mapping, remote netip.AddrPort) *session {
	s := &session{protocol: m.key.protocol, mapping: m, outside: m.outside, remote: remote, index: -1}
	m.sessions++
	t.fromInside[flow{s.protocol, m.key.inside, remote}] = s
	t.fromOutside[flow{s.protocol, m.outside, remote}] = s
	return s
}

// send carries a packet of a session out.
func (t *Translator) send(s *session, p Packet) Action {
	if a, done := t.afterReset(s, p, true); done {
		return a
	}
	switch v := t.track(s, p, true); v {
	case invalid:
		return t.drop(SequenceDropped, p, true, s.outside, "does not fit its connection")
	case restart:
		t.end(s)
		return t.outbound(p)
	case ends:
		defer t.end(s)
	}
	kind := PassedOut
	if p.resets() {
		kind = t.reset(s, true)
	}
	t.report(kind, p, true, s.outside, "")
	p.From, p.Seq = s.outside, p.Seq+s.shift
	return Action{Verdict: Forwarded, Packet: p, Kind: kind}
}

func (t *Translator) inbound(p Packet) Action {
	s := t.fromOutside[flow{p.Protocol, p.To, p.From}]
	if s != nil && s.role != carried {
		return t.again(s, p)
	}
	if s != nil {
		return t.receive(s, p)
	}
	m := t.outside[endpoint{p.Protocol, p.To}]
	switch {
	case !t.config.Firewall && !t.own(p.To.Addr()):
		return t.drop(Filtered, p, false, p.To, "not addressed to the NAT")
	case m == nil:
		return t.unsolicited(p, "no mapping")
	case !t.admits(m, p.From):
		return t.unsolicited(p, "not admitted by the filter")
	case p.Protocol == TCP && !p.opens():
		return t.unsolicited(p, "no session, and not a SYN")
	}
	s = t.join(m, p.From)
	s.incoming = true
	s.took = t.config.Overload && t.joins(m, p.From)
	if p.Protocol == TCP && t.config.Sequence == SequenceWindow {
		s.tcp = newConnection(p)
	}
	t.report(Reused, p, false, p.To, "from outside")
	return t.receive(s, p)
}

// receive carries a packet of a session in.
func (t *Translator) receive(s *session, p Packet) Action {
	if a, done := t.afterReset(s, p, false); done {
		return a
	}
	kind := PassedIn
	if s.crosses(p) {
		switch t.config.Crossing {
		case CrossingDrop:
			return t.drop(CrossingDropped, p, false, s.outside, "the SYN of a simultaneous open")
		case CrossingReset:
			return t.refuse(CrossingRefused, p, "the SYN of a simultaneous open")
		}
		kind = CrossingAccepted
	}
	if p.resets() && t.config.Resets == ResetSwallow && !s.established() {
		return t.drop(ResetSwallowed, p, false, s.outside, "a RST before the connection is established")
	}
	p.Ack -= s.ackShift(p)
	p.Options.Edge -= s.shift
	switch v := t.track(s, p, false); v {
	case invalid:
		return t.outOfWindow(p)
	case restart:
		t.end(s)
		return t.inbound(p)
	case ends:
		defer t.end(s)
	}
	if p.resets() {
		kind = t.reset(s, false)
	}
	t.report(kind, p, false, s.outside, "")
	p.To = s.mapping.key.inside
	return Action{Verdict: Forwarded, Packet: p, Inside: true, Kind: kind}
}

func (s *session) ackShift(p Packet) uint32 {
	if p.Flags.Has(ACK) {
		return s.shift
	}
	return 0
}

// outOfWindow decides about a segment from outside that does not fit. In
// netfilter it then belongs to no connection: it is not translated, and so
// meets the rules for what is addressed to the box itself.
func (t *Translator) outOfWindow(p Packet) Action {
	t.report(SequenceDropped, p, false, p.To, "does not fit its connection")
	if t.config.Firewall || p.resets() {
		return Action{Verdict: Dropped, Packet: p, Kind: SequenceDropped, Reason: "does not fit its connection"}
	}
	switch t.config.Unsolicited {
	case Reset, Poison:
		return t.refuse(AnsweredReset, p, "does not fit its connection")
	case Unreachable:
		return t.reject(p, "does not fit its connection")
	}
	return Action{Verdict: Dropped, Packet: p, Kind: SequenceDropped, Reason: "does not fit its connection"}
}

// hairpin carries a packet from inside to another inside endpoint, with its
// sender's external endpoint as its source (RFC 5382 section 7.2, REQ-8).
func (t *Translator) hairpin(p Packet) Action {
	if !t.config.Hairpin {
		return t.drop(HairpinDropped, p, true, netip.AddrPort{}, "no hairpinning")
	}
	out := t.outbound(p)
	if out.Verdict != Forwarded {
		return out
	}
	back := t.inbound(out.Packet)
	switch back.Verdict {
	case Forwarded:
		t.report(Hairpinned, p, true, out.Packet.From, "")
		back.Kind = Hairpinned
	case Refused: // the RST goes to the sender, through its own session
		if back = t.inbound(back.Packet); back.Verdict == Forwarded {
			back.Verdict = Refused
		}
	case Rejected:
		back.Verdict = Dropped
	}
	return back
}
