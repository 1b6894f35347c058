package predict

import (
	"math"
	"slices"
	"sync"
	"time"

	"tcppunch/predict/nat"
)

// This file knows the best that anyone could do. Nothing in it comes from the
// package: it is told the kind of allocator, its step and its range, all of which
// the package has to find out; of the foreign traffic, and
// of a band's width and edges, it knows what the observations tell.
//
//   - fixed × counting: m mappings and k tries meet for at most m·k values of J,
//     so that no plan does better than the likeliest m·k.
//   - fixed × drawn: 1 − C(N−m,k)/C(N,k).
//   - drawn × any hard: Σ_ij P(X_i = x_j) P(Y_j = y_i) bounds every plan whose SYN
//     i of one side goes to y_i and SYN j of the other to x_j. With Y_j drawn
//     that is k/N_B times the best m successive values of J, or m/N_A.
//   - counting × counting: the best rectangle of m by k successive values of J
//     and J', over all places and divisions. TestNothingFoundBeatsOnePoint
//     searches among all plans for a better one.

// rates is the grid of the rate of foreign mappings: none, and log-uniform from
// 0.1 to 1000 per second.
var rates = func() []float64 {
	list := []float64{0}
	for r := 0.1; r < 1000; r *= 1.04 {
		list = append(list, r)
	}
	return list
}()

// A table has the distribution of the number of foreign mappings in a time, for
// each of the rates.
type tableKey struct {
	seconds, batch float64
}

var tables sync.Map

func table(seconds, batch float64) [][]float64 {
	key := tableKey{seconds, batch}
	if t, ok := tables.Load(key); ok {
		return t.([][]float64)
	}
	var t [][]float64
	for _, r := range rates {
		t = append(t, geometricBatches(r*seconds, batch))
	}
	tables.Store(key, t)
	return t
}

// geometricBatches is the distribution of the sum of a Poisson number of
// geometric batches (Pólya and Aeppli): with θ batches expected and ρ = 1−1/b,
//
//	(n+1) P(n+1) = (2ρn + θ(1−ρ)) P(n) − ρ²(n−1) P(n−1)
func geometricBatches(mean, batch float64) []float64 {
	theta, rho := mean/batch, 1-1/batch
	p := []float64{math.Exp(-theta)}
	if mean == 0 {
		return p
	}
	deviation := math.Sqrt(mean * (2*batch - 1))
	for n := 0; float64(n) < mean+9*deviation+9*batch; n++ {
		next := (2*rho*float64(n) + theta*(1-rho)) * p[n]
		if n > 0 {
			next -= rho * rho * float64(n-1) * p[n-1]
		}
		p = append(p, max(next/float64(n+1), 0))
	}
	return p
}

// A seer is what the best predictor knows of one side.
type seer struct {
	fixed bool
	ports float64   // that are free in the range drawn from; 0: the side counts
	width []float64 // or, if that is not known: the probability of each number

	last, delta int       // where a side that counts is, and its step
	p           []float64 // P(J)
	before      []float64 // before[j] = P(J < j)
	ahead       []float64 // the n-th is the sum of the n largest P(J)

	seen []uint16 // by a side that draws
	low  int      // of the range drawn from; 0: unknown
	high int
	step int // of the ports drawn

	bests []float64 // of best, or -1
}

// see looks at the observations of one side with full knowledge of its NAT.
func see(c nat.Config, obs []Observation, gap time.Duration) seer {
	var seen []uint16
	for _, o := range obs {
		seen = append(seen, o.Reflexive.Port())
	}
	switch c.Ports {
	case nat.Band:
		low, high := int(slices.Min(seen)), int(slices.Max(seen))
		return seer{ports: -1, width: bandWidth(high-low, len(seen)), seen: seen, low: low, high: high, step: 1}
	case nat.Block:
		return seer{ports: float64(c.Width - len(obs)), seen: seen, low: int(slices.Min(seen)), high: int(slices.Max(seen)), step: 1}
	case nat.Random, nat.Parity:
		low, high := max(int(c.Low), 1024), int(c.High)
		if high == 0 {
			high = 65535
		}
		step := 1
		if c.Ports == nat.Parity {
			step = 2
		}
		return seer{ports: float64((high-low+1)/step - len(obs)), seen: seen, low: low, high: high, step: step}
	}
	delta := c.Delta
	if delta == 0 {
		delta = 1
	}
	// The traffic is Poisson or comes in batches of four, as all here does, and
	// idle in a quarter.
	var ahead []float64
	total := 0.0
	for _, batch := range []float64{1, 4} {
		between, after := table(probeSpacing.Seconds(), batch), table(gap.Seconds(), batch)
		for r := range rates {
			w := 1 / float64(len(rates)-1)
			if r == 0 {
				w = 1.0 / 3
			}
			for i := range len(obs) - 1 {
				d := int(int16(obs[i+1].Reflexive.Port() - obs[i].Reflexive.Port()))
				n := d/delta - 1
				if n < 0 || n >= len(between[r]) {
					w = 0
					break
				}
				w *= 10 * between[r][n] // the constant keeps it from vanishing
			}
			if w < 1e-7*total || w == 0 {
				continue
			}
			total += w
			for n, p := range after[r] {
				if n == len(ahead) {
					ahead = append(ahead, 0)
				}
				ahead[n] += w * p
			}
		}
	}
	for n := range ahead {
		ahead[n] /= total
	}
	n := len(ahead)
	for tail := 0.0; n > 1 && tail+ahead[n-1] < 1e-12; n-- {
		tail += ahead[n-1]
	}
	s := seer{last: int(seen[len(seen)-1]), delta: delta, p: slices.Clone(ahead[:n])}
	s.before = sums(s.p)
	slices.Sort(ahead)
	slices.Reverse(ahead)
	s.ahead = sums(ahead)
	return s
}

// value is the probability, for one who knows what the seers know, that a plan
// hits.
func value(p Plan, a, b *seer) float64 {
	switch {
	case p.A.SYNs == 0 || p.B.SYNs == 0:
		return 0
	case a.fixed && b.fixed:
		return 1
	case a.fixed:
		return b.found(p.B.SYNs, p.A.Ports)
	case b.fixed:
		return a.found(p.A.SYNs, p.B.Ports)
	case len(p.A.Ports) != 1 || len(p.B.Ports) != 1:
		return math.NaN() // no plan for two hard sides has been like that
	}
	return a.found(p.A.SYNs, p.B.Ports) * b.found(p.B.SYNs, p.A.Ports)
}

// found is the probability that m mappings hit one of the ports.
func (s *seer) found(m int, ports []uint16) float64 {
	if s.ports == 0 {
		return s.covered(m, ports)
	}
	k := 0
	for _, port := range ports {
		if n := int(port); s.low <= n && n <= s.high && (n-int(s.seen[0]))%s.step == 0 && !slices.Contains(s.seen, port) {
			k++
		}
	}
	if s.width == nil {
		return matches(s.ports, m, k)
	}
	p := 0.0
	for w, q := range s.width {
		if q > 1e-6 {
			p += q * matches(float64(w), m, k)
		}
	}
	return p
}

// covered is the probability that J is one for which the port with some index i
// is among m successive ones: i−m < J ≤ i.
func (s *seer) covered(m int, ports []uint16) float64 {
	total, held := 0.0, map[int]bool{}
	for _, port := range ports {
		i := int(int16(port-uint16(s.last)))/s.delta - 1
		if uint16(s.last+(i+1)*s.delta) != port || i < 0 {
			continue
		}
		from, to := max(i-m+1, 0), min(i+1, len(s.p))
		if from >= to {
			continue
		}
		if len(ports) == 1 {
			return s.before[to] - s.before[from]
		}
		for j := from; j < to; j++ {
			if !held[j] {
				held[j] = true
				total += s.p[j]
			}
		}
	}
	return total
}

// sums are the sums of the first n, for each n from 0 on.
func sums(list []float64) []float64 {
	total := make([]float64, 1, len(list)+1)
	for i, p := range list {
		total = append(total, total[i]+p)
	}
	return total
}

// bandWidth is the distribution of the number of free ports of a band after n
// draws with the given distance from the lowest to the highest: log-uniform up
// to 4096 beforehand, n different ports of W, W−distance places out of 65536−W.
func bandWidth(distance, n int) []float64 {
	list := make([]float64, 4097)
	for w := max(distance+1, 4); w <= 4096; w++ {
		p := 1 / float64(w) * float64(w-distance) / float64(65536-w)
		for i := range n {
			p *= 100 / float64(w-i) // the constant keeps it from vanishing
		}
		list[max(w-n, 1)] += p
	}
	total := sum(list)
	for i := range list {
		list[i] /= total
	}
	return list
}

// best is the largest probability that m mappings of a hard side include a
// chosen port.
func (s *seer) best(m int) float64 {
	for len(s.bests) <= m {
		s.bests = append(s.bests, -1)
	}
	if s.bests[m] < 0 {
		s.bests[m] = s.compute(m)
	}
	return s.bests[m]
}

func (s *seer) compute(m int) float64 {
	switch {
	case s.ports > 0:
		return min(1, float64(m)/s.ports)
	case s.width != nil:
		p := 0.0
		for w, q := range s.width {
			if q > 0 {
				p += q * min(1, float64(m)/float64(w))
			}
		}
		return p
	}
	if m >= len(s.p) {
		return 1
	}
	best, end := 0.0, s.before[m:]
	for j, start := range s.before[:len(end)] {
		if p := end[j] - start; p > best { // m successive values of J
			best = p
		}
	}
	return best
}

func sum(list []float64) (total float64) {
	for _, p := range list {
		total += p
	}
	return total
}

// optimum is the most that any plan with n SYNs reaches.
func optimum(a, b *seer, n int) float64 {
	switch {
	case a.fixed && b.fixed:
		return 1
	case a.fixed:
		return againstKnown(b, n)
	case b.fixed:
		return againstKnown(a, n)
	}
	best := 0.0
	for m := 1; m < n; m = max(m+1, m*33/32) { // a finer grid changes nothing that is seen
		best = max(best, a.best(m)*b.best(n-m), a.best(n-m)*b.best(m))
	}
	return best
}

func againstKnown(s *seer, n int) float64 {
	m, k := n/2, n-n/2
	switch {
	case s.ports > 0:
		return matches(s.ports, m, k)
	case s.width != nil:
		p := 0.0
		for w, q := range s.width {
			if q > 1e-6 {
				p += q * matches(float64(w), m, k)
			}
		}
		return p
	}
	return s.ahead[min(m*k, len(s.ahead)-1)]
}

// matches is the probability that m of N are among k.
func matches(ports float64, m, k int) float64 {
	miss := 1.0
	for i := range k {
		miss *= max(0, ports-float64(m)-float64(i)) / max(1, ports-float64(i))
		if miss < 1e-12 {
			break
		}
	}
	return 1 - miss
}
