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

// stream is a flow with its ends told apart.
type stream struct {
	*flow
	lowIsA bool
}

func (s stream) side(x Segment) Side {
	if (x.From == s.key.low) == s.lowIsA {
		return SideA
	}
	return SideB
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
}

// flightKey recognises one segment at several places. NATs rewrite addresses,
// ports and TTL, and some the MSS; the rest stays.
type flightKey struct {
	side       Side
	kind       Kind
	seq, ack   uint32
	tsval      uint32
	length     int
	occurrence int // of the same at one place: a retransmission without timestamps
}

func (s stream) keys() []flightKey {
	seen := map[flightKey]int{}
	keys := make([]flightKey, len(s.segments))
	for i, x := range s.segments {
		k := flightKey{side: s.side(x), kind: x.Kind, seq: x.Seq, ack: x.Ack, tsval: x.Options.TSval, length: x.PayloadLen}
		seen[k]++
		keys[i] = k
		keys[i].occurrence = seen[k]
	}
	return keys
}

// newExchange orders the streams along the path and unites their sightings.
func newExchange(streams []stream) exchange {
	orderByPath(streams)
	e := exchange{streams: streams}
	index := map[flightKey]int{}
	for v, s := range streams {
		for i, k := range s.keys() {
			at, known := index[k]
			if !known {
				at = len(e.segments)
				index[k] = at
				e.segments = append(e.segments, flight{side: k.side})
			}
			e.segments[at].sightings = append(e.segments[at].sightings, sighting{s.segments[i], v})
		}
	}
	for i := range e.segments {
		e.segments[i].settle()
	}
	if len(streams) > 1 { // within one file its own order counts, even where times do not rise
		slices.SortStableFunc(e.segments, func(x, y flight) int { return x.Time.Compare(y.Time) })
	}
	return e
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

// orderByPath sorts vantage points from A to B. What A sent passes the nearer
// one first, and what B sent passes it last; the mean over both directions
// does not depend on an error between the clocks of two files.
func orderByPath(streams []stream) {
	for i := 1; i < len(streams); i++ {
		for j := i; j > 0 && before(streams[j], streams[j-1]); j-- {
			streams[j], streams[j-1] = streams[j-1], streams[j]
		}
	}
}

// before reports whether x lies nearer to A than y.
func before(x, y stream) bool {
	var sum, count [2]time.Duration
	hops := 0
	seen := map[flightKey]Segment{}
	for i, k := range x.keys() {
		seen[k] = x.segments[i]
	}
	for i, k := range y.keys() {
		other, common := seen[k]
		if !common || k.kind.IsICMP() {
			continue
		}
		delay, ttl := y.segments[i].Time.Sub(other.Time), int(other.TTL)-int(y.segments[i].TTL)
		if k.side == SideB {
			delay, ttl = -delay, -ttl
		}
		sum[k.side-1] += delay
		count[k.side-1]++
		hops += ttl
	}
	var mean time.Duration
	for i := range sum {
		if count[i] > 0 {
			mean += sum[i] / count[i]
		}
	}
	return cmp.Or(cmp.Compare(mean, 0), cmp.Compare(hops, 0)) > 0
}
