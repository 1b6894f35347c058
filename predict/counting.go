package predict

import (
	"math"
	"slices"
	"time"

	"tcppunch/predict/nat"
)

// A draw is one new mapping as it was observed.
type draw struct {
	at    time.Time
	port  uint16
	local uint16
}

// Prior beliefs about allocators that count, where no survey has numbers.
const (
	// Share of steps that fit no count: the range ends, a port was taken, or
	// the NAT changed its mind.
	stray = 0.01
	// Share of observations during which nobody else is active.
	idle = 0.25
	// Rates of foreign mappings that occur, per second: log-uniform in between.
	// Klinec 2014 saw 50 to 265 on a campus NAT.
	slowest, fastest = 0.1, 5000
	// Two observations closer than this may have reached the NAT in either order:
	// a busy host sends late, and a network delays unequally.
	together = 20 * time.Millisecond
)

// overdispersion lists the ratios of variance to mean that foreign traffic may
// have, with prior weights. A Poisson process has 1; batches of geometric size
// with mean b have 2b−1.
var overdispersion = []struct{ dispersion, prior float64 }{{1, .4}, {2, .08}, {4, .14}, {7, .28}, {13, .07}, {25, .03}}

// A count is the hypothesis that ports follow one another at a step.
type count struct {
	model    nat.PortAssignment
	delta    int
	evidence float64 // log probability of the observed ports
	traffic  []Traffic
}

// counting weighs the steps that the draws allow.
func counting(list []draw) []count {
	var found []count
	for _, delta := range steps(list) {
		gaps := foreignGaps(list, delta)
		evidence, traffic := weighTraffic(gaps)
		evidence -= math.Log(65535) // the first port may be any
		found = append(found, count{nat.Sequential, delta, evidence + math.Log(stepPrior(delta)), traffic})
		if delta == 1 {
			found = append(found, count{nat.Lowest, delta, evidence + filling(inOrder(list, delta), gaps), traffic})
		}
	}
	return found
}

// filling corrects the evidence of counting by one to that of taking the lowest
// free port: a step down means that a port below had become free. Where
// nothing is let go, the two do not differ.
func filling(list []draw, gaps []gap) float64 {
	const freed = 0.15 // share of mappings that find one
	sum := 0.0
	for i, g := range gaps {
		switch {
		case list[i+1].port < list[i].port:
			sum += math.Log(freed/float64(list[i].port)) - math.Log(stray/65535)
		case g.number >= 0:
			sum += math.Log(1 - freed)
		}
	}
	return sum
}

// steps lists the steps that explain most of the differences between
// successive ports: the customary ones, and the common divisors of some.
func steps(list []draw) []int {
	if len(list) < 2 {
		return []int{1, -1, 2, -2}
	}
	var tried []int
	divisor := [2]int{} // of the positive and the negative differences
	try := func(delta int) {
		if delta != 0 && !slices.Contains(tried, delta) {
			tried = append(tried, delta)
		}
	}
	last := 0
	for i := range len(list) - 1 {
		d := int(int16(list[i+1].port - list[i].port))
		side := 0
		if d < 0 {
			side = 1
		}
		divisor[side] = gcd(divisor[side], d)
		try(d)
		if d*last > 0 {
			try(sign(d) * gcd(d, last))
		}
		last = d
	}
	for _, d := range []int{1, 2, divisor[0]} {
		try(d)
	}
	for _, d := range []int{-1, -2, -divisor[1]} {
		try(d)
	}
	kept := slices.DeleteFunc(tried, func(delta int) bool { return !explains(list, delta) })
	slices.SortFunc(kept, func(a, b int) int { return abs(a) - abs(b) })
	return kept[:min(len(kept), mostSteps)]
}

// mostSteps bounds the work.
const mostSteps = 5

func explains(list []draw, delta int) bool {
	misses := 0
	for _, g := range foreignGaps(list, delta) {
		if g.number < 0 {
			misses++
		}
	}
	return misses <= (len(list)-1)/5
}

func abs(n int) int { return max(n, -n) }

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return abs(a)
}

// stepPrior is how common a step is: 1, then 2 for NATs that keep parity, and
// the rest.
func stepPrior(delta int) float64 {
	p := 0.85
	if delta < 0 {
		p = 0.15
	}
	switch n := abs(delta); n {
	case 1:
		return p * 0.6
	case 2:
		return p * 0.2
	default: // Σ 1/(n(n+1)) from 3 on is 1/3
		return p * 0.2 * 3 / float64(n) / float64(n+1)
	}
}

// A gap is what lies between two successive draws under a step.
type gap struct {
	seconds float64
	number  int // foreign mappings in between; negative if the step does not explain it
}

// inOrder takes draws that were almost simultaneous in the order that suits the
// step.
func inOrder(list []draw, delta int) []draw {
	ordered := slices.Clone(list)
	for i := range ordered {
		for ; i > 0; i-- {
			a, b := &ordered[i-1], &ordered[i]
			if d := int(int16(b.port - a.port)); d*delta >= 0 || b.at.Sub(a.at) >= together {
				break
			}
			a.port, b.port = b.port, a.port
			a.local, b.local = b.local, a.local
		}
	}
	return ordered
}

// foreignGaps counts the foreign mappings between the draws.
func foreignGaps(list []draw, delta int) []gap {
	ordered := inOrder(list, delta)
	gaps := make([]gap, 0, len(ordered))
	for i := range len(ordered) - 1 {
		g := gap{max(ordered[i+1].at.Sub(ordered[i].at).Seconds(), 1e-4), -1}
		d := int(ordered[i+1].port) - int(ordered[i].port)
		if d*delta < 0 {
			d += sign(delta) << 16 // through the end of the port space
		}
		if d != 0 && d%delta == 0 && float64(d/delta) <= 1000+2*fastest*g.seconds && abs(d) < 1<<15 {
			g.number = d/delta - 1
		}
		gaps = append(gaps, g)
	}
	return gaps
}

// weighTraffic is the log probability of the gaps under all kinds of foreign
// traffic together, and the posterior of those kinds.
func weighTraffic(gaps []gap) (evidence float64, kinds []Traffic) {
	var weights []float64
	for _, o := range overdispersion {
		e, t := weighRates(gaps, o.dispersion)
		t.Dispersion = o.dispersion
		kinds, weights = append(kinds, t), append(weights, e+math.Log((1-idle)*o.prior))
	}
	kinds, weights = append(kinds, Traffic{Ratio: 1, Dispersion: 1}), append(weights, math.Log(idle)+gapsLikelihood(gaps, 0, 1))
	evidence = logSum(weights)
	for i := range kinds {
		kinds[i].Weight = math.Exp(weights[i] - evidence)
	}
	return evidence, prune(kinds)
}

// prune drops kinds of traffic that hardly count, and lets the rest sum to 1.
func prune(kinds []Traffic) []Traffic {
	const negligible = 5e-3
	kinds = slices.DeleteFunc(kinds, func(t Traffic) bool { return t.Weight < negligible })
	sum := 0.0
	for _, t := range kinds {
		sum += t.Weight
	}
	for i := range kinds {
		kinds[i].Weight = round(kinds[i].Weight / sum)
	}
	return kinds
}

// gapsLikelihood is the log probability of the gaps at one rate.
func gapsLikelihood(gaps []gap, rate, dispersion float64) float64 {
	sum := 0.0
	for _, g := range gaps {
		p := stray / 65535
		if g.number >= 0 {
			p += (1 - stray) * arrivals(g.number, rate*g.seconds, dispersion)
		}
		sum += math.Log(p)
	}
	return sum
}

// arrivals is the probability of n arrivals where mean are expected, in
// batches: a Poisson number of them, each of geometric size with mean
// b = (dispersion+1)/2. With θ = mean/b batches expected and ρ = 1−1/b, Panjer's
// recursion (ASTIN Bulletin 12, 1981) for this sum, the Pólya–Aeppli
// distribution, is
//
//	P(0) = e^−θ, P(n) = θ(1−ρ)/n · Σ k ρ^(k−1) P(n−k), 1 ≤ k ≤ n
//
// and Poisson for a dispersion of 1. Large numbers are taken as normal.
func arrivals(n int, mean, dispersion float64) float64 {
	const large = 400
	if mean > large || n > 4*large {
		variance := max(mean*dispersion, 1e-3)
		d := float64(n) - mean
		return math.Exp(-d*d/2/variance) / math.Sqrt(2*math.Pi*variance)
	}
	s := newBatches(mean, dispersion)
	for s.n < n {
		s.next()
	}
	return s.p * math.Exp(-s.theta)
}

// logSum is log Σ e^x.
func logSum(logs []float64) float64 {
	top := slices.Max(logs)
	if math.IsInf(top, -1) {
		return top
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - top)
	}
	return top + math.Log(sum)
}

// round keeps four significant digits, so that offers stay short.
func round(x float64) float64 {
	if x == 0 {
		return 0
	}
	unit := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*unit) / unit
}
