package timing

import (
	"math"
	"slices"
	"time"
)

// averaged is the other method, as p2pd does it: the local time of the
// arrivals minus the server's transmit time in them, averaged within one
// standard deviation, with no regard to the round trip. It reports the pair's
// error in two forms: with the replies of all servers in one pool, and with
// the median of the servers' averages, which spares it liars.
func averaged(t trial) (pooled, median time.Duration) {
	poolA, medianA := averagedClock(t.a)
	poolB, medianB := averagedClock(t.b)
	return (poolB - poolA - t.difference).Abs(), (medianB - medianA - t.difference).Abs()
}

// averagedClock is a peer's clock minus the servers'.
func averagedClock(answers []answer) (pooled, median time.Duration) {
	var all []Sample
	var means []time.Duration
	for _, a := range answers {
		all = append(all, a.samples...)
		means = append(means, averageArrivals(a.samples))
	}
	slices.Sort(means)
	median = midpoint(means[(len(means)-1)/2], means[len(means)/2])
	return averageArrivals(all), median
}

func averageArrivals(replies []Sample) time.Duration {
	var list []float64
	for _, s := range replies {
		list = append(list, float64(s.T4.Sub(s.T3)))
	}
	mean, sd := moments(list)
	inside := slices.DeleteFunc(slices.Clone(list), func(x float64) bool { return math.Abs(x-mean) > sd })
	if len(inside) > 0 {
		mean, _ = moments(inside)
	}
	return time.Duration(mean)
}

func moments(list []float64) (mean, sd float64) {
	for _, x := range list {
		mean += x / float64(len(list))
	}
	for _, x := range list {
		sd += (x - mean) * (x - mean) / float64(len(list))
	}
	return mean, math.Sqrt(sd)
}
