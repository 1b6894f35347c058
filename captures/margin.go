package captures

import "time"

// margin is by how much the SYNs overlapped or missed; nil where the packets do
// not tell, which have no times, or times that run against what the numbers prove.
func (f *facts) margin(v Verdict) *time.Duration {
	if f.isSelf() {
		return nil // it cannot miss itself
	}
	switch v {
	case VerdictSimultaneousOpen:
		return f.marginCrossed()
	case VerdictLateCrossing:
		return f.marginMissed()
	case VerdictRefused, VerdictICMPRejected:
		if r := f.rejection(v); r != nil {
			if m, _, ok := r.afterSyn(); ok && m < 0 {
				return &m
			}
		}
	}
	return nil
}

// marginCrossed: an end answers the other's SYN the moment it arrives; so where
// both ends answered, each SYN could have been as much later as lies between
// the other end's SYN and its SYN-ACK. Both travel the same way and the delay
// cancels, up to its jitter, so that one vantage point anywhere is enough, no
// clocks are compared, and at the ends it is exact.
func (f *facts) marginCrossed() *time.Duration {
	var margin *time.Duration
	for _, side := range []Side{SideA, SideB} {
		if _, crafted := f.foreknown(side); crafted {
			return nil // it did not wait for the SYN
		}
		syn, answer := f.segments[f.syn[side]].Time, f.segments[f.synAck[side]].Time
		if syn.IsZero() || answer.IsZero() || answer.Before(syn) { // a clock that was set back
			return nil
		}
		if m := answer.Sub(syn); margin == nil || m < *margin {
			margin = &m
		}
	}
	return margin
}

// marginMissed is for a late crossing. Seen from a place x before the late end,
// the early SYN would arrive x after it was seen, and the late one had left x
// before it was seen; 2x is the time from SYN-ACK to ACK at that place. Nil
// where no vantage point saw all four, and where the early SYN would have come
// in time: it was dropped, and nothing was missed.
func (f *facts) marginMissed() *time.Duration {
	early := SideA
	if f.synAck[early] < 0 {
		early = SideB
	}
	late := early.Other()
	var margin *time.Duration
	for v := range f.streams {
		place := v // from the early end to the late one: the last counts
		if early == SideB {
			place = len(f.streams) - 1 - v
		}
		syn, ok1 := f.seenAt(f.syn[early], place)
		other, ok2 := f.seenAt(f.syn[late], place)
		asked, ok3 := f.seenAt(f.synAck[early], place)
		answered, ok4 := f.seenAt(f.ack[late], place)
		if ok1 && ok2 && ok3 && ok4 {
			m := syn.Sub(other) + answered.Sub(asked)
			margin = &m
		}
	}
	if margin != nil && *margin >= 0 {
		return nil
	}
	return margin
}

// seenAt is when a place saw a segment; false where it did not, or where its
// file has no time for it.
func (f *facts) seenAt(flight, vantage int) (time.Time, bool) {
	if flight < 0 {
		return time.Time{}, false
	}
	s, ok := f.segments[flight].at(vantage)
	return s.Time, ok && !s.Time.IsZero()
}

// afterSyn is how long after the refuser's own SYN the rejection passed, at the
// place nearest to the refuser that saw both. Both come from the refuser's side
// the same way, so that the delay cancels: negative, the SYN left by so much
// after the other's had been turned away; positive, it was on its way before.
func (r *rejection) afterSyn() (time.Duration, Segment, bool) {
	own := r.syn[r.refuser]
	if own < 0 || r.syn[r.refuser.Other()] < 0 {
		return 0, Segment{}, false
	}
	for v := range r.streams {
		place := v
		if r.refuser == SideB {
			place = len(r.streams) - 1 - v
		}
		rejected, ok1 := r.flight.at(place)
		syn, ok2 := r.segments[own].at(place)
		if ok1 && ok2 && !rejected.Time.IsZero() && !syn.Time.IsZero() {
			return rejected.Time.Sub(syn.Time), syn.Segment, true
		}
	}
	return 0, Segment{}, false
}
