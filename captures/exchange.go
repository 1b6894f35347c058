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
	occurrence int // of the same at one place: a retransmission without timestamps
}

func (s stream) keys(stamped bool) []flightKey {
	seen := map[flightKey]int{}
	keys := make([]flightKey, len(s.segments))
	for i, x := range s.segments {
		k := flightKey{side: s.side(x), kind: x.Kind, seq: x.Seq, ack: x.Ack, tsval: x.Options.TSval, length: x.PayloadLen}
		if !stamped {
			k.tsval = 0
		}
		seen[k]++
		keys[i] = k
		keys[i].occurrence = seen[k]
	}
	return keys
}

// stamped reports whether all places show timestamps: a NAT may strip them.
func stamped(streams []stream) bool {
	for _, s := range streams {
		for _, x := range s.segments {
			if x.Kind == KindSyn && !x.Options.HasTimestamps {
				return false
			}
		}
	}
	return true
}

// newExchange unites the sightings of streams that are in the order of the path.
func newExchange(streams []stream) exchange {
	e := exchange{streams: streams}
	index, stamped := map[flightKey]int{}, stamped(streams)
	for v, s := range streams {
		for i, k := range s.keys(stamped) {
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
	if e.files() > 1 { // within one file its own order counts, even where times do not rise
		slices.SortStableFunc(e.segments, func(x, y flight) int { return x.Time.Compare(y.Time) })
	}
	return e
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
	stamped := stamped(streams)
	for i := 1; i < len(streams); i++ {
		for j := i; j > 0 && before(streams[j], streams[j-1], stamped); j-- {
			streams[j], streams[j-1] = streams[j-1], streams[j]
		}
	}
}

// before reports whether x lies nearer to A than y. What A sent has more hops
// behind it at the place that is farther, and what B sent fewer. Where the hops
// do not tell, times do: the mean of the delays in both directions does not
// depend on an error between the clocks of two files.
func before(x, y stream, stamped bool) bool {
	var sum, count [2]time.Duration
	hops := 0
	seen := map[flightKey]Segment{}
	for i, k := range x.keys(stamped) {
		seen[k] = x.segments[i]
	}
	for i, k := range y.keys(stamped) {
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
	return cmp.Or(cmp.Compare(hops, 0), cmp.Compare(mean, 0)) > 0
}
