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
		if best[i] != nil {
			intervals = append(intervals, intervalOf(*best[i], now))
		}
	}
	if len(intervals) == 0 {
		return e, noAnswer(answers)
	}
	common, ok := intersect(intervals)
	if !ok {
		return e, ErrNoMajority
	}
	chosen := -1
	for i, s := range best {
		switch {
		case s == nil:
			continue
		case !intervalOf(*s, now).overlaps(common):
			e.Servers[i].Verdict = Falseticker
			continue
		}
		e.Servers[i].Verdict = Truechimer
		if chosen < 0 || s.RootDistance(now) < best[chosen].RootDistance(now) {
			chosen = i
		}
	}
	e.fill(answers[chosen].samples, *best[chosen], now)
	return e, nil
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
	s.Stratum = new(best.Stratum)
	s.Offset, s.Bound = new(best.Offset()), new(best.Bound(now))
	s.Delay, s.RootDistance = new(best.Delay()), new(best.RootDistance(now))
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

// fill computes the estimate from one server's samples.
func (e *Estimate) fill(samples []Sample, best Sample, now Instant) {
	e.Offset, e.Delay, e.Bound = best.Offset(), best.Delay(), best.RootDistance(now)
	e.Jitter = jitter(samples, best)
	e.FrequencyPPM = frequency(samples)
	e.Uncertainty = min(e.Bound, uncertainty(best, e.Jitter, now))
}

// asymmetryShare: paths of which one way takes more than 5/8 of the round trip
// are taken to be rarer than 1 %, which errs by 1/8 of the delay.
const asymmetryShare = 8

// uncertainty holds in 99 %: the readings' precision, drift, the usual
// asymmetry of paths, 2.6 times the jitter, and what the server says of its
// own dispersion.
func uncertainty(best Sample, jitter *time.Duration, now Instant) time.Duration {
	u := best.Bound(now) - max(best.Delay(), 0)/2 + max(best.Delay(), 0)/asymmetryShare
	u += best.RootDispersion + best.RootDelay/asymmetryShare
	if jitter == nil {
		return best.RootDistance(now)
	}
	return u + *jitter*26/10
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

// frequency is how fast the reference runs against the local timescale, in
// parts per million: the slope from the first to the last sample, if the two
// bounds leave it no wider than PHI.
func frequency(samples []Sample) *float64 {
	if len(samples) < 2 {
		return nil
	}
	a, b := samples[0], samples[len(samples)-1]
	span := b.Destination.Sub(a.Destination)
	doubt := a.Bound(a.Destination) + b.Bound(b.Destination)
	if span <= 0 || float64(doubt)/float64(span)*1e6 > phi {
		return nil
	}
	return new(float64(b.Offset()-a.Offset()) / float64(span) * 1e6)
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
