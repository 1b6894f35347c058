package predict

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

// A cellSide is one side of a cell: an allocator and its foreign traffic, or a
// NAT with endpoint-independent mapping.
type cellSide struct {
	name   string
	fixed  bool
	config []nat.Config // one of them, at random
}

// A trial is what happened on one side: what was observed, what the best
// predictor makes of it, and what the burst then got.
type trial struct {
	party Party
	seer  seer
	ports []uint16
}

const longestBurst = 2048

// run makes the trials of one side.
func (s cellSide) run(t testing.TB, gap time.Duration, trials int, rng *rand.Rand) []trial {
	list := make([]trial, trials)
	for i := range list {
		if s.fixed {
			list[i] = trial{Party{Behavior: eim, Outside: local, Gap: gap}, seer{fixed: true}, nil}
			continue
		}
		config := s.config[rng.IntN(len(s.config))]
		n := newNetwork(t, config, rng)
		obs := n.observe(t, 12)
		list[i] = trial{
			Party{Classify(obs), obs[len(obs)-1].Reflexive, gap, 0},
			see(config, obs, gap),
			n.burst(gap, longestBurst),
		}
	}
	return list
}

// meets carries out a plan on what the bursts got: SYN i of one side and SYN j
// of the other must carry each other's ports.
func meets(p Plan, a, b trial) bool {
	if p.A.SYNs == 0 || p.B.SYNs == 0 {
		return false
	}
	x, y := mapped(a, p.A), mapped(b, p.B)
	aims := map[uint16][]int{} // by the port of a that b's SYNs go to
	for j := range y {
		target := p.B.Target(j).Port()
		aims[target] = append(aims[target], j)
	}
	for i, port := range x {
		for _, j := range aims[port] {
			if p.A.Target(i).Port() == y[j] {
				return true
			}
		}
	}
	return false
}

// mapped are the outside ports of a side's SYNs.
func mapped(s trial, part Side) []uint16 {
	if s.ports == nil { // one standing mapping for all
		return slices.Repeat([]uint16{s.party.Outside.Port()}, part.SYNs)
	}
	return s.ports[:min(part.SYNs, len(s.ports))]
}

// A result is one cell.
type result struct {
	trials int
	// Sums over the trials: of hits, of the plans' own probabilities, of what
	// they are worth to the best predictor, and of what its best plan is worth.
	hits, predicted, value, optimum float64
}

func (r result) mean(sum float64) float64 { return sum / float64(r.trials) }

// share is how much of the optimum the plans reach. Both are the best
// predictor's probabilities, so that chance plays no part beyond the choice of
// the observations.
func (r result) share() float64 {
	if r.optimum == 0 {
		return 1
	}
	return r.value / r.optimum
}

func cell(a, b []trial, budget int, c *calibration) result {
	r := result{trials: len(a)}
	for i := range a {
		plan := NewPlan(a[i].party, b[i].party, budget)
		hit := meets(plan, a[i], b[i])
		if hit {
			r.hits++
		}
		r.predicted += plan.Probability
		r.value += value(plan, &a[i].seer, &b[i].seer)
		r.optimum += optimum(&a[i].seer, &b[i].seer, budget)
		c.add(plan.Probability, hit)
	}
	return r
}

func counted(name string, churn, batch float64) cellSide {
	return cellSide{name: name, config: []nat.Config{{Ports: nat.Sequential, Churn: churn, ChurnBatch: batch}}}
}

// traffics are the foreign mappings per second, Poisson and in batches of four.
func traffics() []cellSide {
	list := []cellSide{counted("0", 0, 0), counted("50b", 50, 4)}
	if simulated > 1 {
		list = append(list, counted("5", 5, 0), counted("5b", 5, 4), counted("50", 50, 0), counted("265", 265, 0), counted("265b", 265, 4))
	}
	return list
}

var (
	known  = cellSide{name: "fixed", fixed: true}
	ranged = []cellSide{
		{name: "random", config: []nat.Config{{Ports: nat.Random}}},
		{name: "band 251", config: []nat.Config{{Ports: nat.Band, Width: 251}}},
		{name: "block 512", config: []nat.Config{{Ports: nat.Block, Width: 512}}},
		{name: "parity", config: []nat.Config{{Ports: nat.Parity}}},
	}
	mixed = cellSide{name: "mixed", config: []nat.Config{
		{Ports: nat.Sequential}, {Ports: nat.Sequential, Churn: 50}, {Ports: nat.Sequential, Churn: 50, ChurnBatch: 4, Delta: -1},
		{Ports: nat.Sequential, Churn: 265, Delta: 2}, {Ports: nat.Lowest, Churn: 5}, {Ports: nat.Random}, {Ports: nat.Random, Low: 50001},
		{Ports: nat.Band, Width: 251}, {Ports: nat.Band, Width: 1000}, {Ports: nat.Block, Width: 128}, {Ports: nat.Block, Width: 512}, {Ports: nat.Parity},
	}}
)

// TestPlansReachTheOptimum is the main simulation: for each pair of models, the
// plan made from 12 observations against the most that any plan could reach.
func TestPlansReachTheOptimum(t *testing.T) {
	rng := seeded(t)
	trials, budgets, gaps := 20, []int{16, 128}, []time.Duration{300 * time.Millisecond}
	if simulated > 1 {
		trials, budgets = 10_000, []int{16, 32, 64, 128, 256, 512, 1024, 2048}
		gaps = []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second}
	}
	if text := os.Getenv("TCPPUNCH_SIMULATION_TRIALS"); text != "" {
		fmt.Sscan(text, &trials)
	}
	few := 0.0 // what few trials may lack
	if trials < 200 {
		few = 0.02
	}
	var c calibration
	check := func(t *testing.T, a, b cellSide, gap time.Duration, x, y []trial, share float64) {
		for _, budget := range budgets {
			r := cell(x, y, budget, &c)
			if !(r.share() >= share-few) {
				t.Errorf("%s × %s, %d SYNs, gap %v: worth %.4f of at most %.4f, want ≥ %.2f of it", a.name, b.name, budget, gap, r.mean(r.value), r.mean(r.optimum), share)
			}
			if simulated > 1 {
				t.Logf("| %s × %s | %v | %d | %.4f | %.4f | %.4f | %.4f | %.3f |", a.name, b.name, gap, budget, r.mean(r.hits), r.mean(r.predicted), r.mean(r.value), r.mean(r.optimum), r.share())
			}
		}
	}
	for _, gap := range gaps {
		t.Run("gap "+gap.String(), func(t *testing.T) {
			one := known.run(t, gap, trials, rng)
			var ranges [][]trial
			for i, d := range ranged {
				ranges = append(ranges, d.run(t, gap, trials, rng))
				check(t, known, d, gap, one, ranges[i], .98)
				for j := range i {
					check(t, d, ranged[j], gap, ranges[i], ranges[j], .98)
				}
				check(t, d, d, gap, ranges[i], d.run(t, gap, trials, rng), .98)
			}
			for _, s := range traffics() {
				t.Run(s.name, func(t *testing.T) {
					first, second := s.run(t, gap, trials, rng), s.run(t, gap, trials, rng)
					check(t, known, s, gap, one, first, .98)
					check(t, s, s, gap, first, second, .98)
					for i, d := range ranged {
						check(t, s, d, gap, first, ranges[i], .98)
					}
				})
			}
			t.Run("mixed", func(t *testing.T) {
				first, second := mixed.run(t, gap, trials, rng), mixed.run(t, gap, trials, rng)
				check(t, known, mixed, gap, one, first, .95)
				check(t, mixed, mixed, gap, first, second, .95)
			})
		})
	}
	if e, chance := c.error(), c.chance(); e > 0.03+2*chance {
		t.Errorf("expected calibration error: got %.4f, want at most 0.03, and %.4f for chance", e, 2*chance)
	}
	c.report(t)
}
