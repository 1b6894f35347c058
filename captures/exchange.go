package captures

import (
	"cmp"
	"slices"
	"time"
)

// exchange is one opening at all its vantage points, ready to be judged.
type exchange struct {
	streams  []stream // in the order of the path from A to B
	segments []flight // each segment once, in the order of time
}

// flight is one segment or ICMP error with all its sightings. The embedded
// Segment is the sighting nearest to the sender, Side its sender; of an ICMP
// error Side is the one whose segment is quoted.
type flight struct {
	Segment
	side      Side
	sightings []sighting // in the order of time
}

type sighting struct {
	Segment
	vantage int
	leaked  bool    // its source address is not the one that the side has here
	seen    Segment // as the file has it: before times and numbers were translated
}

// flightKey recognises one segment at several places. NATs rewrite addresses,
// ports and TTL, and some the MSS; the rest stays.
type flightKey struct {
	side       Side
	kind       Kind
	seq, ack   uint32
	tsval      uint32
	length     int
	id         uint16
	occurrence int // of the same at one place: a retransmission that neither tells
}

// marks says of each side what tells its retransmissions apart at all places.
type marks struct{ stamps, ids [3]bool }

func (s stream) keys(m marks) []flightKey {
	seen := map[flightKey]int{}
	keys := make([]flightKey, len(s.segments))
	for i, x := range s.segments {
		k := flightKey{side: s.side(x), kind: x.Kind, seq: x.Seq, ack: x.Ack, tsval: x.Options.TSval, length: x.PayloadLen, id: x.ID}
		if !m.stamps[k.side] {
			k.tsval = 0
		}
		if !m.ids[k.side] || k.kind.IsICMP() {
			k.id = 0
		}
		seen[k]++
		keys[i] = k
		keys[i].occurrence = seen[k]
	}
	return keys
}

// stamped says of each side whether all places that show SYNs of it show
// timestamps in them: a NAT may strip them. A SYN that was crafted without one
// may be among others.
func stamped(streams []stream) (sides [3]bool) {
	sides = [3]bool{SideA: true, SideB: true}
	for _, s := range streams {
		var syns, stamps [3]bool
		for _, x := range s.segments {
			if side := s.side(x); x.Kind.isSyn() {
				syns[side], stamps[side] = true, stamps[side] || x.Options.HasTimestamps
			}
		}
		for side := range sides {
			sides[side] = sides[side] && (stamps[side] || !syns[side])
		}
	}
	return sides
}

// identified says of each side whether all places show it by the same
// identifications of IPv4 packets: a NAT may choose others.
func identified(streams []stream) (sides [3]bool) {
	sides = [3]bool{SideA: true, SideB: true}
	common, alike := map[flightKey]bool{}, map[flightKey]bool{}
	for _, s := range streams {
		var shown, same [3]bool
		bare := s.keys(marks{})
		full := s.keys(marks{ids: [3]bool{SideA: true, SideB: true}})
		for i, k := range bare {
			shown[k.side] = shown[k.side] || common[k]
			same[k.side] = same[k.side] || full[i].id != 0 && alike[full[i]]
		}
		for i, k := range bare {
			common[k], alike[full[i]] = true, true
		}
		for side := range sides {
			sides[side] = sides[side] && (same[side] || !shown[side])
		}
	}
	return sides
}

// marksOf is nothing for one place, where each segment is another one.
func marksOf(streams []stream) marks {
	if len(streams) < 2 {
		return marks{}
	}
	return marks{stamped(streams), identified(streams)}
}

// newExchange unites the sightings of streams that are in the order of the path.
func newExchange(streams []stream) exchange {
	e := exchange{streams: streams}
	index, marks := map[flightKey]int{}, marksOf(streams)
	for v, s := range streams {
		for i, k := range s.keys(marks) {
			at, known := index[k]
			if !known {
				at = len(e.segments)
				index[k] = at
				e.segments = append(e.segments, flight{side: k.side})
			}
			x := s.segments[i]
			e.segments[at].sightings = append(e.segments[at].sightings, sighting{x, v, s.leaked(x), s.flow.segments[i]})
		}
	}
	for i := range e.segments {
		e.segments[i].settle()
	}
	if e.isSelf() {
		e.segments = mirrored(e.segments)
	}
	if e.files() > 1 { // within one file its own order counts, even where times do not rise
		slices.SortStableFunc(e.segments, func(x, y flight) int { return x.Time.Compare(y.Time) })
	}
	return e
}

// isSelf reports whether a socket connected to itself, as one does that is bound
// to the port to which it connects: both ends have one name.
func (e exchange) isSelf() bool { return e.streams[0].key.low == e.streams[0].key.high }

// mirrored has each segment of such a socket once as sent by either end.
func mirrored(list []flight) []flight {
	var both []flight
	for _, x := range list {
		y := x
		x.side, y.side = SideA, SideB
		both = append(both, x, y)
	}
	return both
}

// files counts the places, and a place that was captured in two files twice.
func (e exchange) files() int {
	n := len(e.streams)
	for _, s := range e.streams {
		for _, x := range s.segments {
			if x.File != s.key.file {
				n++
				break
			}
		}
	}
	return n
}

// settle chooses the sighting nearest to the sender. Of an ICMP error the
// sender stands somewhere on the path: there the earliest is nearest.
func (f *flight) settle() {
	slices.SortStableFunc(f.sightings, func(x, y sighting) int { return x.Time.Compare(y.Time) })
	nearest := f.sightings[0]
	for _, s := range f.sightings {
		if !s.Kind.IsICMP() && (f.side == SideA && s.vantage < nearest.vantage || f.side == SideB && s.vantage > nearest.vantage) {
			nearest = s
		}
	}
	f.Segment = nearest.Segment
}

// orderByPath sorts vantage points from A to B.
func orderByPath(streams []stream) {
	marks := marksOf(streams)
	for i := 1; i < len(streams); i++ {
		for j := i; j > 0 && before(streams[j], streams[j-1], marks); j-- {
			streams[j], streams[j-1] = streams[j-1], streams[j]
		}
	}
}

// before reports whether x lies nearer to A than y. What A sent passes x first
// then, and what B sent y, so that the delays of both directions together, in
// which an error between the clocks of two files cancels, are positive. Where
// times do not tell, hops do: what A sent has more of them behind it at the
// place that is farther. They come second because a NAT may set the TTL anew.
func before(x, y stream, m marks) bool {
	var delays [2][]time.Duration
	var first, last time.Time
	hops := 0
	seen := map[flightKey]Segment{}
	for i, k := range x.keys(m) {
		seen[k] = x.segments[i]
	}
	for i, k := range y.keys(m) {
		here := y.segments[i]
		there, common := seen[k]
		if !common || k.kind.IsICMP() {
			continue
		}
		sign := 1
		if k.side == SideB {
			sign = -1
		}
		hops += sign * (int(there.TTL) - int(here.TTL))
		if !areComparable(here.Time, there.Time) {
			continue
		}
		delays[k.side-1] = append(delays[k.side-1], time.Duration(sign)*here.Time.Sub(there.Time))
		if first.IsZero() || here.Time.Before(first) {
			first = here.Time
		}
		if here.Time.After(last) {
			last = here.Time
		}
	}
	trip := median(delays[0]) + median(delays[1])
	if both := delays[0] != nil && delays[1] != nil; both && trip.Abs() > 2*rounding(x, y)+last.Sub(first)/drift {
		return trip > 0
	}
	return cmp.Or(cmp.Compare(hops, 0), cmp.Compare(trip, 0)) > 0
}

// drift is a share of the time that passed, 100 ppm: two clocks that are not
// set in between differ by less at its end, if they did not at its beginning.
const drift = 10_000

// median is 0 for nothing.
func median(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}
