package captures

import (
	"math"
	"time"
)

// Clock says how far the clock of a file is from that of the first file, from
// what both captured. A segment is seen earlier where it passes first: what
// passes from one place to the other bounds the difference from above, and what
// passes back from below, as request and answer do in NTP (RFC 5905 section 8).
// All pairs of files together make a system of difference constraints, whose
// tightest bounds are shortest paths.
type Clock struct {
	File int `json:"file"`
	// Offset is this clock minus the first file's; the truth lies within ±Bound
	// of it, if neither clock drifted nor stepped. Nil: no two segments passed in
	// opposite directions.
	Offset *time.Duration `json:"offset_ns"`
	Bound  *time.Duration `json:"bound_ns"`
	// AtLeast and AtMost bound it from one side each, where there is a bound.
	AtLeast *time.Duration `json:"at_least_ns"`
	AtMost  *time.Duration `json:"at_most_ns"`
	Packets int            `json:"packets"` // of this file that another file shows too
	// Applied was added to all times of the file. It is 0 where the clocks may be
	// equal.
	Applied time.Duration `json:"applied_ns"`
	// Consistent is false where no one offset fits all that was seen: a clock
	// drifted or was set. Each exchange is then aligned by itself.
	Consistent bool `json:"consistent"`
}

// maxClocks bounds how many files have their clocks compared: the effort grows
// with the third power.
const maxClocks = 64

// resolution is the least that is added to each bound: half the files in the
// world have stamps in microseconds.
const resolution = time.Microsecond

// rounding is by how much more or less than the time between two stamps may
// have passed.
func rounding(x, y stream) time.Duration { return max(resolution, x.grain, y.grain) }

// differences holds for each pair of files the least time by which a segment
// was seen later in the second than in the first, which it passed before. No
// entry: unbounded.
type differences struct {
	most    [][]time.Duration
	packets []int
}

const unbounded = time.Duration(math.MaxInt64)

// farthest bounds what clocks are compared by, 146 years, so that no sum of two
// differences overflows.
const farthest = time.Duration(1<<62 - 1)

// sum is that of two differences.
func sum(x, y time.Duration) time.Duration { return max(-farthest, min(x+y, farthest)) }

func newDifferences(files int) differences {
	d := differences{make([][]time.Duration, files), make([]int, files)}
	for i := range d.most {
		d.most[i] = make([]time.Duration, files)
		for j := range d.most[i] {
			if i != j {
				d.most[i][j] = unbounded
			}
		}
	}
	return d
}

// note takes the segments that several places of an exchange show. ICMP errors
// do not count: they come from somewhere on the path; nor does what a file has
// no time for, or one that no clock can show; nor do two places of which only
// their clocks would tell which one comes first on the path.
func (d differences) note(e exchange) {
	if len(e.streams) < 2 {
		return
	}
	ordered := e.ordered()
	for _, f := range e.segments {
		if f.Kind.IsICMP() || len(f.sightings) < 2 {
			continue
		}
		for _, x := range f.sightings {
			other := false
			for _, y := range f.sightings {
				if x.File == y.File || x.File >= len(d.most) || y.File >= len(d.most) || !areComparable(x.Time, y.Time) {
					continue
				}
				other = true
				if !ordered[[2]int{min(x.vantage, y.vantage), max(x.vantage, y.vantage)}] {
					continue
				}
				if (f.side == SideA) == (x.vantage < y.vantage) { // it passed x first
					d.most[x.File][y.File] = min(d.most[x.File][y.File], sum(y.Time.Sub(x.Time), rounding(e.streams[x.vantage], e.streams[y.vantage])))
				}
			}
			if other {
				d.packets[x.File]++
			}
		}
	}
}

// ordered are the pairs of places of which before knows the order whatever their
// clocks show: segments passed both in both directions, or lost hops between
// them.
func (e exchange) ordered() map[[2]int]bool {
	type proof struct {
		sides [3]bool
		hops  int
	}
	proofs, pairs := map[[2]int]proof{}, map[[2]int]bool{}
	for _, f := range e.segments {
		for _, x := range f.sightings {
			for _, y := range f.sightings {
				if f.Kind.IsICMP() || x.vantage >= y.vantage {
					continue
				}
				pair := [2]int{x.vantage, y.vantage}
				p := proofs[pair]
				p.sides[f.side] = true
				if f.side == SideA {
					p.hops += int(x.TTL) - int(y.TTL)
				} else {
					p.hops += int(y.TTL) - int(x.TTL)
				}
				proofs[pair] = p
				pairs[pair] = p.hops != 0 || p.sides[SideA] && p.sides[SideB]
			}
		}
	}
	return pairs
}

// areComparable reports whether two times can be of clocks that differ.
func areComparable(x, y time.Time) bool {
	return !x.IsZero() && !y.IsZero() && y.Sub(x).Abs() < farthest
}

// tighten replaces each bound by the tightest one that follows from all
// (Floyd, Warshall); false: they contradict each other.
func (d differences) tighten() bool {
	n := len(d.most)
	for k := range n {
		for i := range n {
			for j := range n {
				if d.most[i][k] != unbounded && d.most[k][j] != unbounded {
					d.most[i][j] = min(d.most[i][j], sum(d.most[i][k], d.most[k][j]))
				}
			}
		}
		for i := range n {
			if d.most[i][i] < 0 {
				return false
			}
		}
	}
	return true
}

// clocks are what follows for each file, against the first.
func (d differences) clocks() []Clock {
	consistent := d.tighten()
	list := make([]Clock, len(d.most))
	for i := range list {
		list[i] = Clock{File: i, Packets: d.packets[i], Consistent: consistent}
		if consistent {
			list[i].bound(d.most[i][0], d.most[0][i])
		}
	}
	return list
}

// bound takes what the first clock is at most ahead of this one, and this one
// of the first.
func (c *Clock) bound(first, this time.Duration) {
	if first != unbounded {
		c.AtLeast = new(-first)
	}
	if this != unbounded {
		c.AtMost = new(this)
	}
	switch {
	case c.AtLeast != nil && c.AtMost != nil:
		c.Offset, c.Bound = new((*c.AtLeast+*c.AtMost)/2), new((*c.AtMost-*c.AtLeast)/2)
		if *c.AtLeast > 0 || *c.AtMost < 0 {
			c.Applied = -*c.Offset
		}
	case c.AtMost != nil && *c.AtMost < 0:
		c.Applied = -*c.AtMost
	case c.AtLeast != nil && *c.AtLeast > 0:
		c.Applied = -*c.AtLeast
	}
}

// align brings the times of all streams to the first file's clock.
func align(streams []stream, clocks []Clock) {
	for _, s := range streams {
		for i := range s.segments {
			if x := &s.segments[i]; x.File < len(clocks) && !x.Time.IsZero() {
				x.Time = x.Time.Add(clocks[x.File].Applied)
			}
		}
	}
}
