package predict

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"reflect"
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

// A trial is what happened on one side: what was observed, what the planner
// and the best predictor make of it, and what the burst then got. All budgets
// and all other sides share it.
type trial struct {
	party Party
	side  *side
	seer  seer
	ports []uint16 // nil: one standing mapping
}

const longestBurst = 2048

// try makes one trial of a side.
func (s cellSide) try(t testing.TB, gap time.Duration, rng *rand.Rand) trial {
	if s.fixed {
		p := Party{Behavior: eim, Outside: local, Gap: gap}
		return trial{p, sideOf(p), seer{fixed: true}, nil}
	}
	config := s.config[rng.IntN(len(s.config))]
	n := newNetwork(t, config, rng)
	obs := n.observe(t, 12)
	p := Party{Classify(obs), obs[len(obs)-1].Reflexive, gap, 0}
	x := sideOf(p)
	if !x.fixed {
		x.best(longestBurst)
	}
	return trial{p, x, see(config, obs, gap), n.burst(gap, longestBurst)}
}

// meets carries out a plan on what the bursts got: SYN i of one side and SYN j
// of the other must carry each other's ports. Every plan so far lets one side
// at least send all to one port.
func meets(p Plan, a, b *trial) bool {
	if p.A.SYNs == 0 || p.B.SYNs == 0 {
		return false
	}
	if len(p.B.Ports) != 1 {
		p, a, b = swapped(p), b, a
	}
	var aims [1 << 16 / 64]uint64 // of those SYNs of a that carry the port that b sends to
	for i := range a.sent(p.A) {
		if a.port(i) == p.B.Ports[0] {
			port := p.A.Target(i).Port()
			aims[port>>6] |= 1 << (port & 63)
		}
	}
	for j := range b.sent(p.B) {
		if port := b.port(j); aims[port>>6]>>(port&63)&1 != 0 {
			return true
		}
	}
	return false
}

// sent is how many SYNs of its part a side can send.
func (x *trial) sent(part Side) int {
	if x.ports == nil {
		return part.SYNs
	}
	return min(part.SYNs, len(x.ports))
}

// port is the outside port of a SYN.
func (x *trial) port(i int) uint16 {
	if x.ports == nil {
		return x.side.outside.Port()
	}
	return x.ports[i]
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

func (r *result) merge(o result) {
	r.trials += o.trials
	r.hits += o.hits
	r.predicted += o.predicted
	r.value += o.value
	r.optimum += o.optimum
}

// add plans for one trial of each side.
func (r *result) add(a, b *trial, budget int, c *calibration) {
	plan := newPlan(a.side, b.side, budget)
	hit := meets(plan, a, b)
	if hit {
		r.hits++
	}
	r.trials++
	r.predicted += plan.Probability
	r.value += value(plan, &a.seer, &b.seer)
	r.optimum += optimum(&a.seer, &b.seer, budget)
	c.add(plan.Probability, hit)
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

// A pairing is two sides, by their index, and the share of the optimum that
// their plans must reach.
type pairing struct {
	a, b  int
	share float64
}

// pairings are all sides that are simulated, twice those that meet their like, and
// which meet which.
func pairings() (sides []cellSide, pairs []pairing) {
	add := func(s cellSide) int {
		sides = append(sides, s)
		return len(sides) - 1
	}
	pair := func(a, b int, share float64) { pairs = append(pairs, pairing{a, b, share}) }
	one := add(known)
	var ranges []int
	for _, d := range ranged {
		x := add(d)
		pair(one, x, .98)
		for _, y := range ranges {
			pair(x, y, .98)
		}
		pair(x, add(d), .98)
		ranges = append(ranges, x)
	}
	for _, s := range traffics() {
		x := add(s)
		pair(one, x, .98)
		pair(x, add(s), .98)
		for _, y := range ranges {
			pair(x, y, .98)
		}
	}
	x := add(mixed)
	pair(one, x, .95)
	pair(x, add(mixed), .95)
	return sides, pairs
}

// A simulation is all cells of one gap.
type simulation struct {
	gap     time.Duration
	budgets []int
	sides   []cellSide
	pairs   []pairing
}

// An outcome has the results by pairing and budget.
type outcome struct {
	cells       [][]result
	calibration calibration
}

// run makes some of the trials. Each has numbers of its own, so that the
// results do not depend on who makes which.
func (s *simulation) run(t testing.TB, trials []int) *outcome {
	o := &outcome{cells: make([][]result, len(s.pairs))}
	for i := range o.cells {
		o.cells[i] = make([]result, len(s.budgets))
	}
	list := make([]trial, len(s.sides))
	for _, n := range trials {
		for i, side := range s.sides {
			list[i] = side.try(t, s.gap, s.numbers(t, n, i))
		}
		for i, p := range s.pairs {
			for j, budget := range s.budgets {
				o.cells[i][j].add(&list[p.a], &list[p.b], budget, &o.calibration)
			}
		}
	}
	return o
}

// numbers is the generator of one trial of one side.
func (s *simulation) numbers(t testing.TB, trial, side int) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, seedOf(t), s.gap, side)
	return rand.New(rand.NewPCG(h.Sum64(), uint64(trial)))
}

func (o *outcome) merge(p *outcome) {
	if o.cells == nil {
		*o = *p
		return
	}
	for i := range o.cells {
		for j := range o.cells[i] {
			o.cells[i][j].merge(p.cells[i][j])
		}
	}
	o.calibration.merge(&p.calibration)
}

// stripes are made beside each other. Their number is fixed, so that sums are
// added in the same order everywhere.
const stripes = 8

// all makes the trials on all processors.
func (s *simulation) all(t *testing.T, trials int) *outcome {
	parts := make([]*outcome, stripes)
	t.Run("trials", func(t *testing.T) {
		for k := range parts {
			t.Run(fmt.Sprint(k), func(t *testing.T) {
				t.Parallel()
				var mine []int
				for n := k; n < trials; n += stripes {
					mine = append(mine, n)
				}
				parts[k] = s.run(t, mine)
			})
		}
	})
	whole := &outcome{}
	for _, p := range parts {
		whole.merge(p)
	}
	return whole
}

// check holds each cell to the share of its pairing; few is what few trials may
// lack.
func (s *simulation) check(t *testing.T, o *outcome, few float64) {
	for i, p := range s.pairs {
		for j, r := range o.cells[i] {
			name := fmt.Sprintf("%s × %s", s.sides[p.a].name, s.sides[p.b].name)
			if !(r.share() >= p.share-few) {
				t.Errorf("%s, %d SYNs, gap %v: worth %.4f of at most %.4f, want ≥ %.2f of it", name, s.budgets[j], s.gap, r.mean(r.value), r.mean(r.optimum), p.share)
			}
			if simulated > 1 {
				t.Logf("| %s | %v | %d | %.4f | %.4f | %.4f | %.4f | %.3f |", name, s.gap, s.budgets[j], r.mean(r.hits), r.mean(r.predicted), r.mean(r.value), r.mean(r.optimum), r.share())
			}
		}
	}
}

// TestPlansReachTheOptimum is the main simulation: for each pair of models, the
// plan made from 12 observations against the most that any plan could reach.
func TestPlansReachTheOptimum(t *testing.T) {
	trials, budgets, gaps := 20, []int{16, 128}, []time.Duration{300 * time.Millisecond}
	if simulated > 1 {
		trials, budgets = 10_000, []int{16, 32, 64, 128, 256, 512, 1024, 2048}
		gaps = []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second}
	}
	if text := os.Getenv("TCPPUNCH_SIMULATION_TRIALS"); text != "" {
		fmt.Sscan(text, &trials)
	}
	few := 0.0
	if trials < 200 {
		few = 0.02
	}
	var all calibration
	for _, gap := range gaps {
		t.Run("gap "+gap.String(), func(t *testing.T) {
			s := simulation{gap: gap, budgets: budgets}
			s.sides, s.pairs = pairings()
			o := s.all(t, trials)
			s.check(t, o, few)
			o.calibration.report(t)
			all.merge(&o.calibration)
		})
	}
	if e, chance := all.error(), all.chance(); e > 0.03+2*chance {
		t.Errorf("expected calibration error: got %.4f, want at most 0.03, and %.4f for chance", e, 2*chance)
	}
	all.report(t)
}

// The simulation makes each forecast once and plans from it again and again.
func TestPlansFromSharedForecastsAreThoseOfNewPlan(t *testing.T) {
	sides, pairs := pairings()
	s := simulation{gap: 300 * time.Millisecond, sides: sides}
	for _, p := range pairs {
		var parties [2]Party
		var shared [2]*side
		for i, index := range [2]int{p.a, p.b} {
			x := sides[index].try(t, s.gap, s.numbers(t, 0, index))
			parties[i], shared[i] = x.party, x.side
		}
		for _, budget := range []int{2048, 1, 16, 200} {
			got, want := newPlan(shared[0], shared[1], budget), NewPlan(parties[0], parties[1], budget)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s × %s, %d SYNs: got %+v, want %+v", sides[p.a].name, sides[p.b].name, budget, got, want)
			}
		}
	}
}
