package predict

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// An assignment is any plan for two sides that count: SYN i of a goes to the
// port with index y[i] of b, SYN j of b to the one with index x[j] of a.
type assignment struct{ x, y []int }

// worth is the mass of the pairs (J, J') at which some SYNs meet:
// J+i = x[j] and J'+j = y[i].
func (s assignment) worth(p, q []float64) float64 {
	var met []int
	for j, x := range s.x {
		for i, y := range s.y {
			if u, v := x-i, y-j; u >= 0 && v >= 0 && u < len(p) && v < len(q) {
				met = append(met, u*len(q)+v)
			}
		}
	}
	slices.Sort(met)
	total := 0.0
	for _, cell := range slices.Compact(met) {
		total += p[cell/len(q)] * q[cell%len(q)]
	}
	return total
}

// rectangle is the one-point plan with the best place.
func rectangle(p []float64, m int) (end int, mass float64) {
	for i := range p {
		if q := sum(p[max(0, i-m+1) : i+1]); q > mass {
			end, mass = i, q
		}
	}
	return end, mass
}

// anneal looks for a better plan by simulated annealing from the one-point plan.
func anneal(rng *rand.Rand, p, q []float64, m, k, steps int) (from, best float64) {
	x, massP := rectangle(p, m)
	y, massQ := rectangle(q, k)
	from = massP * massQ
	s := assignment{slices.Repeat([]int{x}, k), slices.Repeat([]int{y}, m)}
	now := s.worth(p, q)
	best = now
	for step := range steps {
		list := s.x
		if rng.IntN(2) == 0 {
			list = s.y
		}
		at := rng.IntN(len(list))
		old := list[at]
		if rng.IntN(3) == 0 {
			list[at] = list[rng.IntN(len(list))]
		} else {
			list[at] = max(0, old+rng.IntN(7)-3)
		}
		next := s.worth(p, q)
		temperature := 0.02*from*(1-float64(step)/float64(steps)) + 1e-9
		if next >= now || rng.Float64() < math.Exp((next-now)/temperature) {
			now = next
		} else {
			list[at] = old
		}
		best = max(best, now)
	}
	return from, best
}

// For two sides that count, no upper bound is known that is tight. So all plans
// are searched, with what twelve observations leave unknown of the traffic.
func TestNothingFoundBeatsOnePoint(t *testing.T) {
	for name, traffic := range map[string][]Traffic{
		"none seen":         {{1, 2, 0, 1, .3}, {1.5, 2, 0, 7, .2}, {0, 1, 0, 1, .5}},
		"5/s in batches":    {{8, 1.5, 0, 7, 1}},
		"50/s":              {{50, 1.12, 0, 1, 1}},
		"50/s in batches":   {{50, 1.3, 0, 7, 1}},
		"265/s in batches":  {{265, 1.15, 0, 7, 1}},
		"two possibilities": {{20, 1, 0, 1, .5}, {150, 1, 0, 1, .5}},
	} {
		rng := seeded(t)
		r := newRun(0, Parameters{Delta: 1, Traffic: traffic}, 300_000_000, 0)
		for _, m := range []int{3, 6} {
			from, best := anneal(rng, r.first, r.first, m, m, 6000*min(simulated, 10))
			if best > from*1.001 {
				t.Errorf("%s, %d SYNs each: a plan of %.5f was found, one point gives %.5f", name, m, best, from)
			}
		}
	}
}
