package timing

import (
	"cmp"
	"errors"
	"math"
	"time"
)

// judge turns the servers' answers into an estimate at now. It is pure.
func judge(answers []answer, now Instant) (Estimate, error) {
	e := Estimate{At: now, Servers: make([]Server, len(answers))}
	said := make([]*filtered, len(answers))
	for i, a := range answers {
		said[i] = believed(a, now)
		e.Servers[i] = describe(a, said[i], now)
	}
	e.keepApart(answers, said)
	var intervals []interval
	for _, f := range said {
		if f != nil {
			intervals = append(intervals, f.interval())
		}
	}
	if len(intervals) == 0 {
		return e, noAnswer(answers)
	}
	common, ok := intersect(intervals)
	if !ok {
		return e, ErrNoMajority
	}
	nearest := -1
	var votes []vote
	for i, f := range said {
		switch {
		case f == nil:
			continue
		case !f.interval().overlaps(common):
			e.Servers[i].Verdict = Falseticker
			continue
		}
		e.Servers[i].Verdict = Truechimer
		votes = append(votes, f.survivor())
		if nearest < 0 || f.rootDistance() < said[nearest].rootDistance() {
			nearest = i
		}
	}
	e.fill(votes, intervals, answers[nearest], said[nearest].best)
	return e, nil
}

// keepApart takes the smaller of two groups of servers out of said that count
// leap seconds differently.
func (e *Estimate) keepApart(answers []answer, said []*filtered) {
	other := otherTimescale(answers, said)
	for i, a := range answers {
		if said[i] != nil && a.leap.is(other) {
			said[i] = nil
			e.Servers[i].Verdict, e.Servers[i].Error = other, new(other.explanation())
		}
	}
}

// believed is what a server says, or nil: none may be believed that wants no
// requests at all.
func believed(a answer, now Instant) *filtered {
	if verdictOf(a.err) == KissOfDeath && !isRate(a.err) || len(a.samples) == 0 {
		return nil
	}
	return new(filter(a.samples, now))
}

func isRate(err error) bool {
	var kiss *KissError
	return errors.As(err, &kiss) && kiss.Code == "RATE"
}

// describe fills in all but the verdict of a server that said something.
func describe(a answer, said *filtered, now Instant) Server {
	s := Server{Address: a.name, Name: a.name, Samples: len(a.samples)}
	if a.err != nil {
		text := a.err.Error()
		s.Error = &text
	}
	if said == nil {
		s.Verdict = verdictOf(a.err)
		return s
	}
	best := said.best
	s.Address = cmp.Or(best.Server, a.name)
	if best.Stratum != 0 { // a coordinator does not tell
		s.Stratum = new(best.Stratum)
	}
	s.Offset, s.Bound, s.Uncertainty = new(said.offset), new(said.bound), new(said.uncertainty)
	s.Delay, s.RootDistance = new(best.Delay()), new(said.rootDistance())
	s.Age = new(now.Sub(best.Destination))
	return s
}

func verdictOf(err error) Verdict {
	var kiss *KissError
	switch {
	case errors.As(err, &kiss):
		return KissOfDeath
	case errors.Is(err, ErrUnsynchronised):
		return Unsynchronised
	}
	return Unreachable
}

// fill computes the estimate from the survivors of the selection, of which the
// nearest is the one with the least root distance.
func (e *Estimate) fill(votes []vote, all []interval, nearest answer, best Sample) {
	f := fuse(votes, all)
	e.Offset, e.Bound, e.Uncertainty = f.value, f.bound, f.uncertainty
	e.Delay = best.Delay()
	e.Jitter = jitter(nearest.samples, best)
	e.FrequencyPPM = frequency(nearest.samples)
}

// survivor is a truechimer's vote on the reference time, which its own error
// is a part of. RFC 5905 section 11.2.3 weighs survivors by 1/λ; 1/λ² has the
// least variance where errors are in proportion to λ.
func (f filtered) survivor() vote {
	return vote{
		value:       f.offset,
		interval:    f.interval(),
		distance:    2 * f.rootDistance(),
		uncertainty: rootSumOfSquares(f.uncertainty, f.best.RootDispersion, f.best.RootDelay/asymmetryShare),
	}
}

// jitter is ψ of RFC 5905 section 10: the root mean square of the offsets'
// differences to the best one.
func jitter(samples []Sample, best Sample) *time.Duration {
	if len(samples) < 2 {
		return nil
	}
	var sum float64
	for _, s := range samples {
		d := float64(s.Offset() - best.Offset())
		sum += d * d
	}
	return new(time.Duration(math.Sqrt(sum / float64(len(samples)-1))))
}

// interval is where a server says that the true offset lies.
type interval struct{ low, high time.Duration }

func (i interval) overlaps(j interval) bool { return i.low <= j.high && j.low <= i.high }

// intersect finds the smallest interval that holds a point of as many
// intervals as possible, and whether these are a majority (Marzullo's
// algorithm, which RFC 5905 section 11.2.1 builds on; that all midpoints lie in
// the intersection is not asked, since paths may be asymmetric).
func intersect(list []interval) (interval, bool) {
	var common interval
	most := 0
	for _, a := range list {
		n, high := cover(list, a.low)
		if n > most {
			most, common = n, interval{a.low, high}
		}
	}
	return common, 2*most > len(list)
}

// cover tells how many intervals hold a point, and where the first of them
// ends.
func cover(list []interval, point time.Duration) (n int, end time.Duration) {
	end = math.MaxInt64
	for _, b := range list {
		if b.low <= point && point <= b.high {
			n, end = n+1, min(end, b.high)
		}
	}
	return n, end
}

// majority is the hull of all points that a majority of the intervals hold.
// The truth is there as long as a majority tells it. It need not lie in the
// smaller interval that intersect finds: a liar whose interval just touches
// the others makes that as small as it likes.
func majority(list []interval) interval {
	held := func(point time.Duration) bool {
		n, _ := cover(list, point)
		return 2*n > len(list)
	}
	all := interval{math.MaxInt64, math.MinInt64}
	for _, a := range list {
		if held(a.low) {
			all.low = min(all.low, a.low)
		}
		if held(a.high) {
			all.high = max(all.high, a.high)
		}
	}
	return all
}
