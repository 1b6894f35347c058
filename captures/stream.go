package captures

import (
	"cmp"
	"net/netip"
	"slices"
)

// stream is the flow of one place with its ends told apart.
type stream struct {
	*flow
	lowIsA bool
	// rewritten are the ISNs that differ here from what the first place shows.
	rewritten [3][]rewriting
	segments  []Segment // the flow's, with the numbers of the first place and the common clock
}

// rewriting is an ISN here, and at the first place.
type rewriting struct{ here, there uint32 }

// side is the sender of a segment. One that leaked is known by where it goes.
func (s stream) side(x Segment) Side {
	if (s.end(x) == 0) == s.lowIsA {
		return SideA
	}
	return SideB
}

// roles remembers which side sent what.
type roles struct {
	isns   map[uint32]Side // SideUnknown: both used it
	prints map[fingerprint]Segment
	sides  map[fingerprint]Side
}

// newStreams tells the ends of the flows of one exchange apart: A is the
// sender of the first SYN that the first place saw. When two SYNs cross, the
// order of the files thus decides, and not a microsecond.
func newStreams(flows []*flow) []stream {
	rest := unitePlaces(flows)
	slices.SortStableFunc(rest, func(x, y *flow) int {
		return cmp.Or(cmp.Compare(x.key.file, y.key.file), cmp.Compare(x.key.place, y.key.place), x.segments[0].Time.Compare(y.segments[0].Time))
	})
	known := roles{map[uint32]Side{}, map[fingerprint]Segment{}, map[fingerprint]Side{}}
	list := []stream{known.add(rest[0], opener(rest[0]) == rest[0].key.low)}
	rest = rest[1:]
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(f *flow) bool { return known.low(f, list) != SideUnknown })
		if i < 0 {
			break // they share a number with a flow of their own only: cannot be, but must not loop
		}
		list = append(list, known.add(rest[i], known.low(rest[i], list) == SideA))
		rest = slices.Delete(rest, i, i+1)
	}
	return list
}

func opener(f *flow) netip.AddrPort {
	first := f.segments[0]
	if first.Kind == KindSynAck { // the SYN itself was not captured
		return first.To
	}
	return first.From
}

// low is the side of a flow's low end.
func (r roles) low(f *flow, assigned []stream) Side {
	for _, x := range f.segments {
		if !x.Kind.isSyn() {
			continue
		}
		side := r.isns[x.Seq]
		if p, ok := fingerprintOf(x); ok && side == SideUnknown {
			side = r.sides[p]
		}
		switch {
		case side == SideUnknown:
		case x.From == f.key.low:
			return side
		default:
			return side.Other()
		}
	}
	for _, s := range assigned { // a capture that was split
		if s.key.low == f.key.low && s.key.high == f.key.high {
			if s.lowIsA {
				return SideA
			}
			return SideB
		}
	}
	return SideUnknown
}

// add notes what the flow shows, and where its numbers differ from what other
// places showed.
func (r roles) add(f *flow, lowIsA bool) stream {
	s := stream{flow: f, lowIsA: lowIsA, segments: slices.Clone(f.segments)}
	for _, x := range f.segments {
		if !x.Kind.isSyn() {
			continue
		}
		side := s.side(x)
		p, ok := fingerprintOf(x)
		known, seen := r.prints[p]
		switch {
		case ok && seen && r.sides[p] == side && known.Seq != x.Seq:
			s.rewritten[side] = append(s.rewritten[side], rewriting{x.Seq, known.Seq})
			continue
		case ok && !seen:
			r.prints[p], r.sides[p] = x, side
		}
		if had, both := r.isns[x.Seq]; both && had != side {
			side = SideUnknown
		}
		r.isns[x.Seq] = side
	}
	s.translate()
	return s
}

// translate brings sequence and acknowledgement numbers to those of the first
// place.
func (s *stream) translate() {
	if s.rewritten[SideA] == nil && s.rewritten[SideB] == nil {
		return
	}
	for i := range s.segments {
		x := &s.segments[i]
		side := s.side(*x)
		x.Seq = original(x.Seq, s.rewritten[side])
		x.Ack = original(x.Ack, s.rewritten[side.Other()])
	}
}

// original undoes the rewriting whose ISN lies nearest below a number.
func original(number uint32, list []rewriting) uint32 {
	best := rewriting{}
	least := uint32(1 << 30) // the greatest window of RFC 7323 section 2.3
	for _, w := range list {
		if distance := number - w.here; distance < least {
			least, best = distance, w
		}
	}
	return number - best.here + best.there
}

// unitePlaces joins flows that one place shows: the parts of a capture that was
// split, and what a NAT let out untranslated beside what it translated.
func unitePlaces(flows []*flow) []*flow {
	list := slices.Clone(flows)
	for i := 0; i < len(list); i++ {
		for j := i + 1; j < len(list); j++ {
			if isSplit(list[i], list[j]) || isLeak(list[i], list[j]) {
				list[i] = join(list[i], list[j])
				list = slices.Delete(list, j, j+1)
				j = i
			}
		}
	}
	return list
}

// rawKey recognises a segment in two flows with the same ends.
type rawKey struct {
	kind            Kind
	from            netip.AddrPort
	seq, ack, tsval uint32
	length          int
	id              uint16
}

func keyOfRaw(x Segment) rawKey {
	return rawKey{x.Kind, x.From, x.Seq, x.Ack, x.Options.TSval, x.PayloadLen, x.ID}
}

func (f *flow) rawKeys() map[rawKey][]Segment {
	keys := map[rawKey][]Segment{}
	for _, x := range f.segments {
		keys[keyOfRaw(x)] = append(keys[keyOfRaw(x)], x)
	}
	return keys
}

// isSplit is for two flows of different files, or interfaces, with the same
// ends. They are of one place if what both show has the same time and TTL in
// both, or, where nothing is in both, if one goes on where the other ends, or if
// they are the two directions of one exchange.
func isSplit(f, g *flow) bool {
	if f.key.low != g.key.low || f.key.high != g.key.high || samePlace(f, g) {
		return false
	}
	keys, common := f.rawKeys(), false
	for _, y := range g.segments {
		if list := keys[keyOfRaw(y)]; list != nil {
			common = true
			if !slices.ContainsFunc(list, y.sameSighting) {
				return false
			}
		}
	}
	if g.segments[0].Time.Before(f.segments[0].Time) {
		f, g = g, f
	}
	switch {
	case common:
		return true
	case areDirections(f, g): // in one file: the two interfaces of a tap
		return f.key.file == g.key.file || f.agreesInTTL(g)
	}
	return f.leadsTo(g.segments[0]) && f.agreesInTTL(g)
}

// areDirections reports whether each of two flows with the same ends holds what
// one end sent, and one acknowledges a SYN of the other: so a tap shows an
// exchange that has an interface for each direction, and so do the members of a
// link, or two uplinks.
func areDirections(f, g *flow) bool {
	x, okF := f.direction()
	y, okG := g.direction()
	return okF && okG && x != y && f.key.low == g.key.low && f.key.high == g.key.high && (f.answers(g) || g.answers(f))
}

// direction is the end that sent all segments of a flow, if one did; those that
// were adopted from other places aside.
func (f *flow) direction() (end int, ok bool) {
	var sent [2]bool
	for _, x := range f.segments {
		if !x.Kind.IsICMP() && x.File == f.key.file && x.Interface == f.key.place {
			sent[f.end(x)] = true
		}
	}
	if sent[1] {
		end = 1
	}
	return end, sent[0] != sent[1]
}

// answers reports whether a segment of the flow acknowledges a SYN of another.
func (f *flow) answers(g *flow) bool {
	for _, x := range f.segments {
		if x.Kind == KindSyn || x.Kind == KindRst || x.Kind.IsICMP() {
			continue
		}
		for _, y := range g.segments {
			if y.Kind.isSyn() && x.From != y.From && x.Ack-y.Seq-1 <= uint32(y.PayloadLen) {
				return true
			}
		}
	}
	return false
}

// leadsTo reports whether a segment in another file can belong to the flow's
// opening: it comes next, and is no SYN of another connection.
func (f *flow) leadsTo(s Segment) bool {
	gap := s.Time.Sub(f.segments[len(f.segments)-1].Time)
	answered := [2]bool{}
	for _, x := range f.segments {
		if x.Kind.acknowledges() {
			answered[f.end(x)] = true
		}
	}
	anew := s.Kind == KindSyn && !f.isns[isnKey{s.From, s.Seq}] && answered == [2]bool{true, true}
	return gap >= 0 && gap <= sameAttempt && !anew
}

func (s Segment) sameSighting(x Segment) bool { return x.Time.Equal(s.Time) && x.TTL == s.TTL }

// agreesInTTL reports whether nothing speaks against one place: no side has
// another TTL, and it is not the host of one end and then of the other.
func (f *flow) agreesInTTL(g *flow) bool {
	for _, x := range f.segments {
		for _, y := range g.segments {
			if x.Kind.IsICMP() || y.Kind.IsICMP() || x.Kind.isRst() || y.Kind.isRst() {
				continue
			}
			if x.From == y.From && x.TTL != y.TTL || x.From != y.From && hops(x.TTL) == 0 && hops(y.TTL) == 0 {
				return false
			}
		}
	}
	return true
}

// isLeak is for two flows of one place that have one end in common: the other
// end has two names here. Where the place sees each segment in both names it is
// a router, and its two sides count as two places.
func isLeak(f, g *flow) bool {
	if !samePlace(f, g) || !shareEnd(f, g) {
		return false
	}
	type key struct {
		kind     Kind
		seq, ack uint32
		id       uint16
	}
	seen := map[key]bool{}
	for _, x := range f.segments {
		seen[key{x.Kind, x.Seq, x.Ack, x.ID}] = true
	}
	return !slices.ContainsFunc(g.segments, func(y Segment) bool { return seen[key{y.Kind, y.Seq, y.Ack, y.ID}] })
}

// join adds the segments of g to f, or of f to g where those of f are the ones
// that leaked.
func join(f, g *flow) *flow {
	if f.private() && !g.private() {
		f, g = g, f
	}
	out := f.clone()
	keys := f.rawKeys()
	for _, y := range g.segments {
		if !slices.ContainsFunc(keys[keyOfRaw(y)], y.sameSighting) {
			out.segments = append(out.segments, y)
		}
	}
	slices.SortStableFunc(out.segments, func(x, y Segment) int { return x.Time.Compare(y.Time) })
	out.grain = max(f.grain, g.grain)
	out.recount()
	return out
}

func (f *flow) private() bool {
	return f.key.low.Addr().IsPrivate() || f.key.high.Addr().IsPrivate()
}

// end is 0 for what the low end sent.
func (f *flow) end(x Segment) int {
	if x.From == f.key.low || x.To == f.key.high {
		return 0
	}
	return 1
}

// recount counts SYNs and attempts in the segments that are held.
func (f *flow) recount() {
	f.syns, f.tries = [2]int{}, [2]int{}
	seen := map[isnKey]bool{}
	for _, x := range f.segments {
		if x.Kind != KindSyn {
			continue
		}
		f.syns[f.end(x)]++
		if k := (isnKey{x.From, x.Seq}); !seen[k] {
			seen[k] = true
			f.tries[f.end(x)]++
		}
	}
}
