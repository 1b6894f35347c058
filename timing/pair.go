package timing

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Offset is what one machine measured against one server: the server's clock
// minus the machine's own. Two machines that asked the same server learn from
// their two Offsets how their own clocks differ, whatever the server's error.
type Offset struct {
	Name        string        // of the server, the same on both machines
	Offset      time.Duration // θ: server minus local
	Bound       time.Duration // certain, against the server's clock
	Delay       time.Duration // δ, the round trip
	Uncertainty time.Duration // in 99 %; 0: not known
}

// Offsets are the servers' offsets as they may be compared with those of
// another machine, with the bounds of the instant now. Falsetickers and
// servers on another timescale are left out. Where the servers contradict each
// other without a majority all are in: each may still have told both machines
// the same.
func (e Estimate) Offsets(now Instant) []Offset {
	older := drifted(now.Sub(e.At).Abs())
	var list []Offset
	for _, s := range e.Servers {
		if s.Offset == nil || s.Bound == nil || s.Verdict != Truechimer && s.Verdict != VerdictUnknown {
			continue
		}
		o := Offset{Name: s.Address, Offset: *s.Offset, Bound: *s.Bound + older}
		if s.Delay != nil {
			o.Delay = max(*s.Delay, 0)
		}
		if s.Uncertainty != nil {
			o.Uncertainty = rootSumOfSquares(*s.Uncertainty, older)
		}
		list = append(list, o)
	}
	return list
}

// Drift is how far two clocks can drift apart in a time: PHI of RFC 5905
// section 7.2. Two peers drift apart by twice as much, each against the
// servers.
func Drift(age time.Duration) time.Duration { return drifted(age.Abs()) }

// Difference is how two machines' clocks differ.
type Difference struct {
	Offset       time.Duration // b's clock minus a's
	Bound        time.Duration // the truth lies within ± this for certain, if the servers used have run on steadily between the two measurements
	Uncertainty  time.Duration // and within ± this in 99 %
	Used         []string      // servers, by name
	Falsetickers []string      // servers that must have told the two machines different times
}

// Pair compares what two machines measured against the same servers. It is
// pure and depends on neither the order nor, except for the sign, on which
// machine is a. It reports false if they share no server.
func Pair(a, b []Offset) (Difference, bool) {
	p, ok := compare(a, b)
	return p.difference, ok
}

// Alignment puts two machines on one timescale: the weighted mean of the
// clocks of the servers that both asked. A machine's clock plus its Offset is
// the time on it, so that both launch at T when each launches at T − Offset by
// its own clock, and miss each other by no more than Bound.
type Alignment struct {
	LowOffset   time.Duration // timescale minus low's clock
	HighOffset  time.Duration // timescale minus high's clock
	Bound       time.Duration // of LowOffset − HighOffset, for certain
	Uncertainty time.Duration // of the same, in 99 %
	Used        []string      // servers, by name
}

// Difference is high's clock minus low's.
func (a Alignment) Difference() time.Duration { return a.LowOffset - a.HighOffset }

// Align computes the common timescale of two machines. Both compute the same
// from the same lists, on any processor; with the lists exchanged the offsets
// are exchanged. It reports false if they share no server.
//
// LowOffset − HighOffset is the difference that Pair finds. The bound holds
// for the time of the two measurements: two clocks part by 2 × Drift after it.
func Align(low, high []Offset) (Alignment, bool) {
	p, ok := compare(low, high)
	if !ok {
		return Alignment{}, false
	}
	al := Alignment{Bound: p.difference.Bound, Uncertainty: p.difference.Uncertainty, Used: p.difference.Used}
	al.LowOffset = weighted(p.weights, func(i int) time.Duration { return p.shared[i].low.Offset })
	al.HighOffset = weighted(p.weights, func(i int) time.Duration { return p.shared[i].high.Offset })
	// What the two means differ from the difference, by clamping and rounding,
	// is shared between the sides.
	excess := p.difference.Offset - (al.LowOffset - al.HighOffset)
	al.LowOffset += excess / 2
	al.HighOffset -= excess - excess/2
	return al, true
}

// comparison is a Difference and how it came about.
type comparison struct {
	difference Difference
	shared     []sharedServer
	weights    []float64 // of shared
}

type sharedServer struct {
	low, high Offset
	vote      vote
}

// compare: high minus low is θ_low − θ_high, since θ is server minus local.
func compare(low, high []Offset) (comparison, bool) {
	all := share(low, high)
	if len(all) == 0 {
		return comparison{}, false
	}
	intervals := make([]interval, len(all))
	for i, s := range all {
		intervals[i] = s.vote.interval
	}
	var c comparison
	common, ok := intersect(intervals)
	if !ok { // no majority: none is believed more than another
		common = hull(intervals)
	}
	var votes []vote
	for _, s := range all {
		if !s.vote.interval.overlaps(common) {
			c.difference.Falsetickers = append(c.difference.Falsetickers, s.low.Name)
			continue
		}
		c.shared = append(c.shared, s)
		c.difference.Used = append(c.difference.Used, s.low.Name)
		votes = append(votes, s.vote)
	}
	f := fuse(votes, intervals)
	c.weights = f.weights
	c.difference.Offset, c.difference.Bound, c.difference.Uncertainty = f.value, f.bound, f.uncertainty
	if !ok {
		c.difference.Uncertainty = f.bound
	}
	return c, true
}

// share pairs the offsets by name, in the order of names. Of several of one
// name the one with the least bound counts.
func share(low, high []Offset) []sharedServer {
	high = credible(high)
	var all []sharedServer
	for _, l := range credible(low) {
		if i, ok := slices.BinarySearchFunc(high, l, byName); ok {
			all = append(all, sharedServer{l, high[i], voteOf(l, high[i])})
		}
	}
	return all
}

func byName(a, b Offset) int { return strings.Compare(a.Name, b.Name) }

// Offsets come from a stranger too: what would overflow is no clock. 2^61 ns
// are 73 years.
const (
	maxOffset = 1 << 61
	maxBound  = 1 << 59
)

func credible(list []Offset) []Offset {
	list = slices.DeleteFunc(slices.Clone(list), func(o Offset) bool {
		return o.Offset < -maxOffset || o.Offset > maxOffset || o.Bound < 0 || o.Bound > maxBound || o.Delay < 0 || o.Delay > maxBound || o.Uncertainty < 0
	})
	slices.SortFunc(list, func(a, b Offset) int {
		return cmp.Or(byName(a, b), cmp.Compare(a.Bound, b.Bound), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Delay, b.Delay), cmp.Compare(a.Uncertainty, b.Uncertainty))
	})
	return slices.CompactFunc(list, func(a, b Offset) bool { return a.Name == b.Name })
}

// voteOf: the errors of the two paths are independent, so that their squares
// add up. Where age or coarse clocks have made the bounds larger than half of
// the delays those count.
func voteOf(low, high Offset) vote {
	value, bound := low.Offset-high.Offset, low.Bound+high.Bound
	return vote{
		value:       value,
		interval:    interval{value - bound, value + bound},
		distance:    2 * rootSumOfSquares(low.Bound, high.Bound),
		uncertainty: min(bound, rootSumOfSquares(low.usual(), high.usual())),
	}
}

// usual is the uncertainty, where it was not said that of the usual path.
func (o Offset) usual() time.Duration {
	if o.Uncertainty > 0 {
		return min(o.Uncertainty, o.Bound)
	}
	return o.Bound - min(o.Bound, o.Delay/2) + o.Delay/asymmetryShare
}
