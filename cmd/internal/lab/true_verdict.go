package lab

import (
	"net/netip"
	"slices"

	"tcppunch/captures"
)

// The true verdict of an opening follows from what left either site and what
// became of it on the way, on the core's one clock: other packets than the
// clients captured, by other rules than those of package captures, which looks
// at what each end has proven to know.

// attempted is what one side sent of an opening: by its last attempt, where it
// made several.
type attempted struct {
	syn      bool
	isn      uint32
	synAck   bool
	ack      bool             // without SYN, after the other side's SYN-ACK: it is established
	rejected captures.Verdict // how its SYN was answered first; unknown: not by a rejection
	order    int              // place of that answer among the sightings
}

// opening puts the sightings of one opening together.
func opening(sightings []sighting) (a, b attempted) {
	for i, s := range sightings {
		own, other := &a, &b
		if s.from == 'b' {
			own, other = &b, &a
		}
		h := s.header
		switch {
		case h.unreachable:
			other.reject(captures.VerdictICMPRejected, i)
		case h.rst && (!h.ack || h.acked == other.isn+1):
			other.reject(captures.VerdictRefused, i)
		case h.rst:
		case h.syn && h.ack:
			own.synAck = true
		case h.syn:
			if !own.syn || own.isn != h.seq {
				own.syn, own.isn, own.rejected = true, h.seq, captures.VerdictUnknown
			}
			if s.expired {
				own.reject(captures.VerdictICMPRejected, i)
			}
		case h.ack && other.synAck:
			own.ack = true
		}
	}
	return a, b
}

func (p *attempted) reject(v captures.Verdict, order int) {
	if p.syn && p.rejected == captures.VerdictUnknown {
		p.rejected, p.order = v, order
	}
}

// verdictOf says what the sightings of one opening amount to, and whether an end
// was established.
func verdictOf(sightings []sighting) (v captures.Verdict, stood bool) {
	a, b := opening(sightings)
	switch stood = a.ack || b.ack; {
	case a.syn && b.syn && a.synAck && b.synAck:
		return captures.VerdictSimultaneousOpen, stood
	case a.syn && b.syn && stood:
		return captures.VerdictLateCrossing, true
	case stood:
		return captures.VerdictThreeWay, true
	case a.rejected == captures.VerdictUnknown && b.rejected == captures.VerdictUnknown:
		return captures.VerdictUnanswered, false
	case b.rejected == captures.VerdictUnknown || a.rejected != captures.VerdictUnknown && a.order < b.order:
		return a.rejected, false
	}
	return b.rejected, false
}

// ends are the endpoints by which the two sides of one opening showed
// themselves between the sites.
type ends struct{ a, b []netip.AddrPort }

func (e ends) have(s sighting) bool {
	from, to := s.header.source, s.header.destination
	if s.header.unreachable {
		if s.header.quoted == nil {
			return false
		}
		to, from = s.header.quoted[0], s.header.quoted[1]
	}
	if s.from == 'b' {
		from, to = to, from
	}
	return slices.Contains(e.a, from) && slices.Contains(e.b, to)
}

// verdict is that of the opening between such ends, unless another one stood
// where this one did not.
func (t truth) verdict(e ends) captures.Verdict {
	own := slices.DeleteFunc(slices.Clone(t.sightings), func(s sighting) bool { return !e.have(s) })
	v, stood := verdictOf(own)
	if stood {
		return v
	}
	for _, list := range t.openings() {
		if other, stood := verdictOf(list); stood {
			return other
		}
	}
	return v
}

// openings are the sightings by pairs of endpoints.
func (t truth) openings() map[[2]netip.AddrPort][]sighting {
	all := map[[2]netip.AddrPort][]sighting{}
	for _, s := range t.sightings {
		pair := [2]netip.AddrPort{s.header.source, s.header.destination}
		if s.from == 'b' {
			pair[0], pair[1] = pair[1], pair[0]
		}
		all[pair] = append(all[pair], s)
	}
	return all
}

// view is one opening as a client captured it: the client's own endpoint, and
// the one that it aimed at.
type view struct{ own, aimed netip.AddrPort }

// endsOf finds what the opening of two views looked like between the sites: each
// client aims at an endpoint that the other has there, and where only one
// captured it, the boxes tell what became of its own. A view that is not known
// is zero.
func (t truth) endsOf(a, b view, boxes []string) (e ends) {
	if a.aimed.IsValid() {
		e.b = []netip.AddrPort{a.aimed}
	}
	if b.aimed.IsValid() {
		e.a = []netip.AddrPort{b.aimed}
	}
	if e.a == nil {
		e.a = t.translated(a, "a", boxes)
	}
	if e.b == nil {
		e.b = t.translated(b, "b", boxes)
	}
	return e
}

// translated are the outermost endpoints that the boxes of a side, from the
// client outwards, gave a client's own towards its aim.
func (t truth) translated(v view, side string, boxes []string) []netip.AddrPort {
	list := []netip.AddrPort{v.own}
	for _, box := range boxes {
		if sideOf(box) != side {
			continue
		}
		var outside []netip.AddrPort
		for _, m := range t.mappings {
			if m.Box == box && m.Change == Created && m.Protocol == "tcp" && m.Peer == v.aimed && slices.Contains(list, m.Inside) {
				outside = append(outside, m.Outside)
			}
		}
		list = outside
	}
	return list
}
