package nat

// A tracking is what a session makes of a packet.
type tracking uint8

const (
	fits    tracking = iota
	ignored          // passes without a trace
	invalid          // does not fit
	ends             // passes, and ends the session
	restart          // the session is over, and the packet starts another
)

// track follows the session by a packet, and gives it its new deadline.
func (t *Translator) track(s *session, p Packet, outbound bool) tracking {
	v := fits
	if s.tcp != nil && !t.keeps(s, p) {
		v = s.tcp.packet(p, outbound == s.incoming)
	}
	if v == invalid || v == restart {
		return v
	}
	if p.resets() && (v == ignored || t.keeps(s, p)) {
		return v
	}
	s.see(p, outbound)
	if v == fits {
		s.deadline = t.clock + s.idle(&t.config)
		t.timers.set(s)
	}
	if p.resets() && s.tcp == nil && t.config.Resets != ResetDropNext {
		return ends
	}
	return v
}

// keeps reports whether a RST leaves the session as it is.
func (t *Translator) keeps(s *session, p Packet) bool {
	return p.resets() && !s.established() && (t.config.Resets == ResetKeep || t.config.Resets == ResetSwallow)
}

// reset names what a RST that passes does, after track.
func (t *Translator) reset(s *session, outbound bool) Kind {
	switch {
	case t.config.Resets == ResetDropNext:
		s.dropNextSYN = true
		s.deadline = t.clock + t.config.Closed
		t.timers.set(s)
		return ResetKilled
	case s.tcp != nil && s.tcp.state != tcpClose:
		return ResetKept
	case s.closing:
		return ResetKilled
	}
	return ResetKept
}

// afterReset drops the first SYN after a RST, as pf does: the SYN finds the
// state of the connection that was reset, and removes it.
func (t *Translator) afterReset(s *session, p Packet, outbound bool) (Action, bool) {
	if !s.dropNextSYN || !p.opens() {
		return Action{}, false
	}
	a := t.drop(SYNDropped, p, outbound, s.outside, "the first SYN after a RST")
	t.end(s)
	return a, true
}
