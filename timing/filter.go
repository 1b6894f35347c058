package timing

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// filtered is what all samples of one server say together of its clock.
type filtered struct {
	best        Sample        // with the least bound of its own
	offset      time.Duration // θ
	bound       time.Duration // of offset, certain
	uncertainty time.Duration // of offset, in 99 %
}

// filter looks at the two ways apart. Each sample proves that θ is at most
// T2 − T1, had the request not taken any time, and at least T3 − T4. The
// truth lies inside all of these intervals, so that the quickest request and
// the quickest reply count even where no exchange was quick both ways, as with
// a queue in one direction only; the bound is never wider than that of the
// sample with the least delay, which the clock filter of RFC 5905 section 10
// picks. Each interval widens by PHI as it gets older.
//
// A server whose samples contradict each other was set in between. Of it only
// the best sample counts.
func filter(samples []Sample, now Instant) filtered {
	f := filtered{best: slices.MinFunc(samples, func(s, t Sample) int { return cmp.Compare(s.Bound(now), t.Bound(now)) })}
	both, certain := samples, f.best.certain(now)
	for _, s := range samples {
		certain = certain.within(s.certain(now))
	}
	if certain.low > certain.high {
		both, certain = []Sample{f.best}, f.best.certain(now)
	}
	f.offset = midpoint(certain.low, certain.high)
	f.bound = max(certain.high-f.offset, f.offset-certain.low)
	f.uncertainty = min(f.bound, f.usual(both, now))
	return f
}

// certain is where the server's clock is, as one sample knows.
func (s Sample) certain(now Instant) interval {
	return interval{s.Offset() - s.Bound(now), s.Offset() + s.Bound(now)}
}

func (i interval) within(j interval) interval {
	return interval{max(i.low, j.low), min(i.high, j.high)}
}

// rootDistance is λ of RFC 5905 section 11.2.
func (f filtered) rootDistance() time.Duration {
	return f.bound + f.best.RootDelay/2 + f.best.RootDispersion
}

// interval is where the server says that the true offset lies.
func (f filtered) interval() interval {
	return interval{f.offset - f.rootDistance(), f.offset + f.rootDistance()}
}

// The usual asymmetry of paths: one of which one way takes more than 5/8 of
// the round trip is taken to be rarer than 1 %, which errs by 1/8 of the
// delay. No packet shows it. A single sample may have waited on one way only;
// that errs by 1/4.
const (
	asymmetryShare = 8
	singleShare    = 4
)

// usual is the 99 % uncertainty: the usual asymmetry of paths, the waiting left
// in the quickest request and reply, the hosts' handling, drift and the
// readings' precision.
func (f filtered) usual(samples []Sample, now Instant) time.Duration {
	rest := f.best.Bound(now) - max(f.best.Delay(), 0)/2 // precision and drift
	delay := 2 * max(f.bound-rest, 0)
	if len(samples) < 2 {
		return rootSumOfSquares(delay/singleShare, f.best.handling(), rest)
	}
	return rootSumOfSquares(delay/asymmetryShare, waiting(samples, delay), f.best.handling(), rest)
}

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

// The prior of waiting: two more samples that waited 1/64 of the round trip on
// either way. It keeps two samples that happen to agree from proving that
// nothing ever waits.
const (
	priorWaits = 2
	waitShare  = 64
)

// waiting is how far, in 99 %, the waiting left in the quickest request and
// reply shifts the offset: half of it, by the worse of the two ways.
//
// Of n waiting times that are exponentially distributed the least is so too,
// with 1/n of the mean. The mean is learnt from the same samples, so that the
// quotient has an F distribution with 2 and 2f degrees of freedom, whose
// quantiles have a closed form; f is n − 1 and the prior's samples.
func waiting(samples []Sample, delay time.Duration) time.Duration {
	n := len(samples)
	seen := max(usualWait(samples, Sample.forth), usualWait(samples, Sample.back))
	freedom := float64(n - 1 + priorWaits)
	mean := (float64(n-1)*seen + priorWaits*float64(delay/waitShare)) / freedom
	f99 := freedom * (math.Pow(100, 1/freedom) - 1)
	return time.Duration(min(math.Ceil(f99*mean/float64(2*n)), 1<<62))
}

// forth and back are the times that request and reply took, plus and minus θ.
func (s Sample) forth() time.Duration { return s.T2.Sub(s.T1) }
func (s Sample) back() time.Duration  { return s.T4.Sub(s.T3) }

// usualWait is the mean of the exponential distribution that the median of the
// waits beyond the quickest stands for. Unlike their mean it does not grow with
// a few samples that waited long. The expectation of the j-th of k ordered
// waits is the mean times 1/k + 1/(k−1) + … + 1/(k−j+1).
func usualWait(samples []Sample, way func(Sample) time.Duration) float64 {
	list := make([]time.Duration, len(samples))
	for i, s := range samples {
		list[i] = way(s)
	}
	slices.Sort(list)
	middle, expected := len(list)/2, 0.0
	for i := range middle {
		expected += 1 / float64(len(list)-1-i)
	}
	return float64(list[middle]-list[0]) / expected
}
