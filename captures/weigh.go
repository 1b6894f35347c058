package captures

import (
	"slices"
	"time"
)

// weighWhere asks where it was seen: what an end sends passes the vantage point
// before that end. That this is on the end's host is known by TTLs, which then
// count no more.
func (r *rejection) weighWhere() {
	home := r.end(r.refuser)
	s, ok := r.at(home)
	if ok && r.atHome(r.refuser) {
		r.add(-proven, s.Segment, "It left %s's own host, where it was captured.", name(r.refuser))
		return
	}
	if !ok {
		r.weighPlaces(home)
	}
	r.weighHops()
}

// weighPlaces is for what was not seen nearest to the refuser.
func (r *rejection) weighPlaces(home int) {
	step := 1
	if r.refuser == SideB {
		step = -1
	}
	var next int
	for v := home; ; v += step {
		if _, ok := r.at(v); ok {
			next = v
			break
		}
	}
	r.origin.Between = &[2]int{next, next - step}
	if r.asked >= 0 {
		if _, ok := r.segments[r.asked].at(home); !ok {
			r.add(proven, r.segments[r.asked].Segment, "The %s that it answers was not captured nearest to %s: it was answered on the way.", label(r.segments[r.asked].Kind), name(r.refuser))
			return
		}
	}
	if r.wasHeard(home) {
		r.add(proven, r.Segment, "It was not captured nearest to %s, where other segments were at the time.", name(r.refuser))
		return
	}
	r.add(likely, r.Segment, "It was not captured nearest to %s, but that capture may have begun later or ended before.", name(r.refuser))
}

// wasHeard reports whether a vantage point showed something both before and
// after.
func (r *rejection) wasHeard(vantage int) bool {
	before, after := false, false
	for _, x := range r.segments {
		if s, ok := x.at(vantage); ok {
			before = before || s.Time.Before(r.Time)
			after = after || s.Time.After(r.Time)
		}
	}
	return before && after
}

// alike are the refuser's other segments at the place where the rejection was
// seen nearest to it.
func (r *rejection) alike() (list []Segment) {
	for _, x := range r.segments {
		if x.side != r.refuser || x.Kind.IsICMP() || x.Kind.isRst() {
			continue
		}
		for _, s := range x.sightings {
			if s.File == r.File && s.Interface == r.Interface && !s.leaked {
				list = append(list, s.Segment)
			}
		}
	}
	return list
}

// weighHops compares TTLs. A host may give its RSTs another initial TTL than
// its sockets, so it is the distance that counts.
func (r *rejection) weighHops() {
	list := slices.DeleteFunc(r.alike(), func(y Segment) bool { return hops(y.TTL) > farthestHops })
	if len(list) == 0 || hops(r.TTL) > farthestHops {
		return // it began with a TTL that was chosen
	}
	x, several := list[0], false
	for _, y := range list {
		several = several || y.TTL != x.TTL
		if hops(y.TTL) == hops(r.TTL) {
			x = y
		}
	}
	if several && hops(x.TTL) != hops(r.TTL) {
		return // a side that chooses its TTLs says nothing by them
	}
	switch mine, its := hops(r.TTL), hops(x.TTL); {
	case mine == its && r.TTL == x.TTL:
		r.add(-2, x, "It came with TTL %d, as %s's %s did.", r.TTL, name(r.refuser), label(x.Kind))
	case mine == its:
		r.add(-1, x, "It has %d hops behind it, as %s's %s has, though it began with TTL %d instead of %d.", mine, name(r.refuser), label(x.Kind), initialTTL(r.TTL), initialTTL(x.TTL))
	case mine < its:
		r.add(4, x, "It has %d hops behind it, %s's %s has %d: it comes from nearer.", mine, name(r.refuser), label(x.Kind), its)
	default:
		r.add(2, x, "It has %d hops behind it, %s's %s has %d: it comes from another place.", mine, name(r.refuser), label(x.Kind), its)
	}
}

// weighBehaviour: an end that waits in SYN-SENT answers a SYN with a SYN-ACK,
// and an end that has no socket sends no SYN.
func (r *rejection) weighBehaviour() {
	before := map[uint32]bool{}
	for _, x := range r.segments {
		if x.Kind != KindSyn || x.side != r.refuser {
			continue
		}
		if x.Time.Before(r.Time) {
			before[x.Seq] = true
		} else if before[x.Seq] {
			r.add(5, x.Segment, "%s repeated its SYN afterwards with the same number: it was waiting in SYN-SENT, where a host answers a SYN with a SYN-ACK.", name(r.refuser))
			break
		}
	}
	if s, ok := r.leak(); ok {
		r.add(-5, s.Segment, "Its source is %s, an address of the host, not of the NAT before it.", s.From)
	}
}

// weighForm: RFC 9293 section 3.10.7.1 says what a host sends where there is no
// connection.
func (r *rejection) weighForm() {
	if r.asked >= 0 {
		asked := r.segments[r.asked]
		toSyn := asked.Kind == KindSyn && !r.revokes
		if toSyn && r.Kind == KindRst {
			r.add(3, r.Segment, "It is a RST without ACK in answer to a SYN; RFC 9293 section 3.10.7.1 wants one with ACK.")
		}
		if toSyn && r.Kind == KindRstAck && r.Seq != 0 {
			r.add(1, r.Segment, "Its sequence number is %d; RFC 9293 section 3.10.7.1 wants 0 in answer to a SYN.", r.Seq)
		}
		if r.ID != 0 && r.ID == asked.ID && r.From.Addr().Is4() {
			r.add(2, r.Segment, "It repeats the IP identification %d of the %s that it answers.", r.ID, label(asked.Kind))
		}
	}
	if r.Window != 0 {
		r.add(1, r.Segment, "It has a window of %d, where a host's has 0.", r.Window)
	}
	if r.Options.HasTimestamps {
		r.add(-2, r.Segment, "It has a TCP timestamp, which a socket gives.")
	}
	for _, x := range r.alike() {
		if x.From.Addr().Is4() && r.ID != 0 && x.ID != 0 && x.Time.Before(r.Time) && r.ID-x.ID-1 < 64 {
			r.add(-2, x, "Its IP identification %d follows %d of %s's %s.", r.ID, x.ID, name(r.refuser), label(x.Kind))
			break
		}
	}
	if list := r.alike(); len(list) > 0 && list[0].DontFragment != r.DontFragment {
		r.add(1, list[0], "The bit against fragmenting differs from that of %s's %s.", name(r.refuser), label(list[0].Kind))
	}
}

// weighTiming compares how long it took with how long the end itself takes.
func (r *rejection) weighTiming() {
	if r.asked < 0 {
		return
	}
	vantage := r.place()
	asked, ok := r.segments[r.asked].at(vantage)
	if !ok {
		return
	}
	took, least, shown := r.Time.Sub(asked.Time), time.Duration(-1), Segment{}
	for _, x := range r.segments {
		answered, ok := x.at(vantage)
		if !ok || x.side != r.refuser || x.Kind.isRst() || x.Kind.IsICMP() || x.Kind == KindSyn {
			continue
		}
		for _, y := range r.segments {
			s, ok := y.at(vantage)
			if ok && y.side != r.refuser && y.Kind.isSyn() && answered.Ack-y.Seq-1 <= uint32(y.PayloadLen) && answered.Time.After(s.Time) {
				if d := answered.Time.Sub(s.Time); least < 0 || d < least {
					least, shown = d, answered.Segment
				}
			}
		}
	}
	switch {
	case least < time.Millisecond, took < 0, asked.Time.IsZero(), r.Time.IsZero():
	case took < least*6/10:
		r.add(3, shown, "It came after %v, and %s itself does not answer in less than %v.", round(took), name(r.refuser), round(least))
	case took < 3*least:
		r.add(-1, shown, "It took %v, and %s itself answers in %v.", round(took), name(r.refuser), round(least))
	}
}

// place is the vantage point of the sighting that stands for the rejection.
func (r *rejection) place() int {
	for _, s := range r.sightings {
		if s.File == r.File && s.Packet == r.Packet {
			return s.vantage
		}
	}
	return 0
}

// weighReporter: an ICMP error has a source of its own.
func (r *rejection) weighReporter() {
	who := r.Reporter
	switch {
	case who != r.To.Addr():
		r.add(proven, r.Segment, "%s sent it, which is no end of the connection.", who)
	case r.Kind == KindICMPTimeExceeded:
		r.add(proven, r.Segment, "Routers send it, not ends.")
	default:
		r.add(0, r.Segment, "%s sent it: %s, or the NAT that has the address.", who, name(r.refuser))
	}
	if r.Kind == KindICMPUnreachable && (r.ICMPCode == 9 || r.ICMPCode == 10 || r.ICMPCode == 13) && who.Is4() {
		r.add(2, r.Segment, "The code is that of a filter (RFC 1812 section 5.2.7.1).")
	}
}
