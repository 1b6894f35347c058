package timing

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"
)

// judge turns the servers' answers into an estimate at now. It is pure.
func judge(answers []answer, now Instant) (Estimate, error) {
	e := Estimate{At: now, Servers: make([]Server, len(answers))}
	best := make([]*Sample, len(answers))
	var intervals []interval
	for i, a := range answers {
		best[i] = leastBound(a, now)
		e.Servers[i] = describe(a, best[i], now)
	}
	e.keepApart(answers, best)
	for _, s := range best {
		if s != nil {
			intervals = append(intervals, intervalOf(*s, now))
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
	for i, s := range best {
		switch {
		case s == nil:
			continue
		case !intervalOf(*s, now).overlaps(common):
			e.Servers[i].Verdict = Falseticker
			continue
		}
		e.Servers[i].Verdict = Truechimer
		votes = append(votes, survivor(answers[i].samples, *s, now))
		if nearest < 0 || s.RootDistance(now) < best[nearest].RootDistance(now) {
			nearest = i
		}
	}
	e.fill(votes, common, answers[nearest], *best[nearest])
	return e, nil
}

// keepApart takes the smaller of two groups of servers out of best that count
// leap seconds differently.
func (e *Estimate) keepApart(answers []answer, best []*Sample) {
	other := otherTimescale(answers, best)
	for i, a := range answers {
		if best[i] != nil && a.leap.is(other) {
			best[i] = nil
			e.Servers[i].Verdict, e.Servers[i].Error = other, new(other.explanation())
		}
	}
}

// leastBound is the sample to believe, or nil: none may be believed of a
// server that wants no requests at all.
func leastBound(a answer, now Instant) *Sample {
	if verdictOf(a.err) == KissOfDeath && !isRate(a.err) || len(a.samples) == 0 {
		return nil
	}
	s := slices.MinFunc(a.samples, func(s, t Sample) int { return cmp.Compare(s.Bound(now), t.Bound(now)) })
	return &s
}

func isRate(err error) bool {
	var kiss *KissError
	return errors.As(err, &kiss) && kiss.Code == "RATE"
}

// describe fills in all but the verdict of a server that gave a sample.
func describe(a answer, best *Sample, now Instant) Server {
	s := Server{Address: a.name, Name: a.name, Samples: len(a.samples)}
	if a.err != nil {
		text := a.err.Error()
		s.Error = &text
	}
	if best == nil {
		s.Verdict = verdictOf(a.err)
		return s
	}
	s.Address = cmp.Or(best.Server, a.name)
	if best.Stratum != 0 { // a coordinator does not tell
		s.Stratum = new(best.Stratum)
	}
	s.Offset, s.Bound = new(best.Offset()), new(best.Bound(now))
	s.Delay, s.RootDistance = new(best.Delay()), new(best.RootDistance(now))
	s.Age = new(now.Sub(best.Destination))
	s.Uncertainty = new(uncertainty(a.samples, *best, now))
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
func (e *Estimate) fill(votes []vote, common interval, nearest answer, best Sample) {
	f := fuse(votes, common)
	e.Offset, e.Bound, e.Uncertainty = f.value, f.bound, f.uncertainty
	e.Delay = best.Delay()
	e.Jitter = jitter(nearest.samples, best)
	e.FrequencyPPM = frequency(nearest.samples)
}

// survivor is a truechimer's vote on the reference time, which its own error
// is a part of. RFC 5905 section 11.2.3 weighs survivors by 1/λ; 1/λ² has the
// least variance where errors are in proportion to λ.
func survivor(samples []Sample, best Sample, now Instant) vote {
	return vote{
		value:       best.Offset(),
		interval:    intervalOf(best, now),
		distance:    2 * best.RootDistance(now),
		uncertainty: rootSumOfSquares(uncertainty(samples, best, now), best.RootDispersion, best.RootDelay/asymmetryShare),
	}
}

// The usual asymmetry of paths: one of which one way takes more than 5/8 of
// the round trip is taken to be rarer than 1 %, which errs by 1/8 of the
// delay. A single sample may have waited on one way only; that errs by 1/4.
const (
	asymmetryShare = 8
	singleShare    = 4
)

// scatterShare over the number of samples is the share of the offsets' scatter
// that is left in the quickest sample, in 99 %: with waiting times that are
// exponentially distributed both ways.
const scatterShare = 3

// How unequally the two hosts may handle a message, in 99 %: what it takes to
// send one, and to wake a program where the kernel did not stamp the arrival.
const (
	sending = 5 * time.Microsecond
	waking  = 50 * time.Microsecond
)

func (s Sample) handling() time.Duration {
	if s.Stamped {
		return sending
	}
	return waking
}

// uncertainty of best against the server's clock, in 99 %: the usual asymmetry
// of paths, what is left of the waiting, the hosts' handling, drift and the
// readings' precision.
func uncertainty(samples []Sample, best Sample, now Instant) time.Duration {
	bound, delay := best.Bound(now), max(best.Delay(), 0)
	rest := bound - delay/2 // precision and drift
	if len(samples) < 2 {
		return min(bound, rootSumOfSquares(delay/singleShare, best.handling(), rest))
	}
	left := scatter(samples, best) * scatterShare / time.Duration(len(samples))
	return min(bound, rootSumOfSquares(delay/asymmetryShare, left, best.handling(), rest))
}

// scatter is the median of the offsets' distances to the best one. Unlike the
// jitter it does not grow with a few samples that waited long.
func scatter(samples []Sample, best Sample) time.Duration {
	var list []time.Duration
	for _, s := range samples {
		if s != best {
			list = append(list, (s.Offset() - best.Offset()).Abs())
		}
	}
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
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

func intervalOf(s Sample, now Instant) interval {
	return interval{s.Offset() - s.RootDistance(now), s.Offset() + s.RootDistance(now)}
}

func (i interval) overlaps(j interval) bool { return i.low <= j.high && j.low <= i.high }

// intersect finds the smallest interval that holds a point of as many
// intervals as possible, and whether these are a majority (Marzullo's
// algorithm, which RFC 5905 section 11.2.1 builds on; that all midpoints lie in
// the intersection is not asked, since paths may be asymmetric).
func intersect(list []interval) (interval, bool) {
	var common interval
	most := 0
	for _, a := range list {
		n, high := 0, time.Duration(math.MaxInt64)
		for _, b := range list {
			if b.low <= a.low && a.low <= b.high {
				n, high = n+1, min(high, b.high)
			}
		}
		if n > most {
			most, common = n, interval{a.low, high}
		}
	}
	return common, 2*most > len(list)
}
