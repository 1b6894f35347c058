package timing

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// vote is what one server says of a difference of clocks.
type vote struct {
	value       time.Duration
	interval    interval      // holds the truth, if the server tells it
	distance    time.Duration // the weight is 1/distance²
	uncertainty time.Duration // of value in 99 %, were this the only vote
}

// fusion is what several votes say together.
type fusion struct {
	value, bound, uncertainty time.Duration
	weights                   []float64 // of the votes; they sum up to 1
}

// fuse weighs the votes that are believed, out of servers that said all these
// intervals. As long as a majority of the servers tell the truth it lies where
// a majority of the intervals do. That of the votes counts too, so that
// an obvious liar changes nothing.
//
// The error of an offset is at most half of the delay and in practice a share
// of it, which differs from path to path, so that a weight of 1/δ² is that of
// the least variance. How large the share is on these paths is learnt from how
// far the votes lie apart.
func fuse(votes []vote, all []interval) fusion {
	f := fusion{weights: weigh(votes)}
	believed := make([]interval, len(votes))
	for i, v := range votes {
		believed[i] = v.interval
	}
	certain := hull([]interval{majority(all), majority(believed)})
	if certain.low > certain.high { // there is none
		certain = hull(believed)
	}
	mean := weighted(f.weights, func(i int) time.Duration { return votes[i].value })
	f.value = min(max(mean, certain.low), certain.high)
	f.bound = max(certain.high-f.value, f.value-certain.low)
	f.uncertainty = min(f.bound, spread(votes, f.weights, mean))
	return f
}

// leastDistance keeps a server on this machine from outweighing all others:
// below it the delay is no measure of the error, the readings are.
const leastDistance = time.Microsecond

func weigh(votes []vote) []float64 {
	nearest := votes[0].distance
	for _, v := range votes {
		nearest = min(nearest, v.distance)
	}
	nearest = max(nearest, leastDistance)
	weights, sum := make([]float64, len(votes)), 0.0
	for i, v := range votes {
		r := float64(nearest) / float64(max(v.distance, nearest))
		weights[i] = float64(r * r)
		sum += weights[i]
	}
	for i := range weights {
		weights[i] /= sum
	}
	return weights
}

// weighted is the weighted mean, taken from the first value so that long
// durations lose nothing to the 53 bits of a float. The conversions of
// products keep processors that fuse multiplication and addition to the same
// result as all others: two peers must agree.
func weighted(weights []float64, value func(int) time.Duration) time.Duration {
	first, sum := value(0), 0.0
	for i, w := range weights {
		sum += float64(w * float64(value(i)-first))
	}
	return first + time.Duration(math.Round(sum))
}

// The prior of spread: what the votes say of themselves counts as much as
// priorServers more servers would, and this share of their variances is taken
// to be common to all of them, as that of an access line is. The access line is
// a part of the shortest path too, so that the least uncertain vote says how
// much it can be.
const (
	priorServers = 3
	commonShare  = 0.2
)

// spread is the 99 % uncertainty of the weighted mean. The votes' own
// uncertainties are scaled by how far apart the votes really lie: a Student
// distribution whose variance has an inverse χ² prior (Gelman et al., Bayesian
// Data Analysis, section 2.6). A single vote is as uncertain as it says.
func spread(votes []vote, weights []float64, mean time.Duration) time.Duration {
	var chi2, variance float64
	common := math.Inf(1)
	for i, v := range votes {
		u := float64(max(v.uncertainty, 1))
		r := float64(v.value-mean) * normal99 / u
		chi2 += float64(r * r)
		wu := float64(weights[i] * u)
		variance += float64(wu * wu)
		common = min(common, u)
	}
	single := math.Sqrt(float64((1-commonShare)*variance) + float64(commonShare*float64(common*common)))
	if len(votes) == 1 {
		return time.Duration(math.Ceil(single))
	}
	freedom := priorServers + len(votes) - 1
	scale := math.Sqrt((priorServers + chi2) / float64(freedom))
	return time.Duration(min(math.Ceil(single*scale*student99(freedom)/normal99), 1<<62))
}

// normal99 is the 0.995 quantile of the normal distribution.
const normal99 = 2.5758

// student are the 0.995 quantiles of Student's distribution with 1, 2, …
// degrees of freedom.
var student = []float64{63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169,
	3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845}

func student99(freedom int) float64 {
	return student[min(max(freedom, 1), len(student))-1]
}

// rootSumOfSquares adds up independent errors.
func rootSumOfSquares(list ...time.Duration) time.Duration {
	var sum float64
	for _, d := range list {
		sum += float64(float64(d) * float64(d))
	}
	return time.Duration(min(math.Ceil(math.Sqrt(sum)), 1<<62))
}

// hull is the smallest interval that holds them all.
func hull(list []interval) interval {
	return interval{
		slices.MinFunc(list, func(a, b interval) int { return cmp.Compare(a.low, b.low) }).low,
		slices.MaxFunc(list, func(a, b interval) int { return cmp.Compare(a.high, b.high) }).high,
	}
}
