package predict

import (
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

// party is a side that was last seen at port 40000.
func party(b Behavior) Party {
	return Party{Behavior: b, Outside: netip.AddrPortFrom(wan, 40000), Gap: 300 * time.Millisecond}
}

// hard is a NAT with a mapping for each destination.
func hard(m nat.PortAssignment, p Parameters) Behavior {
	return Behavior{Mapping: nat.AddressAndPortDependent, Ports: Ports{
		Model: m, Parameters: p, Posterior: []Model{{Model: m, Probability: 1}}, Seen: []uint16{40000},
	}}
}

// drawnFrom draws from n ports of which none was seen.
func drawnFrom(n int) Behavior {
	b := hard(nat.Random, Parameters{Low: 1024, High: uint16(1023 + n), Widths: []Width{{n, 1}}})
	b.Ports.Seen = nil
	b.Ports.Seen = []uint16{1024, uint16(1023 + n)}
	b.Ports.Parameters.Widths[0].Ports += 2 // these two are taken
	return b
}

func sequential(delta int, rate, ratio, dispersion float64) Behavior {
	return hard(nat.Sequential, Parameters{Delta: delta, Traffic: []Traffic{{rate, ratio, 0, dispersion, 1}}})
}

var (
	eim  = Behavior{Mapping: nat.EndpointIndependent, Filtering: nat.FilterAddressAndPortDependent}
	open = Behavior{Mapping: nat.EndpointIndependent, Filtering: nat.FilterEndpointIndependent}
)

// behaviors are one of each kind.
func behaviors() []Behavior {
	mixed := sequential(1, 50, 1.2, 4)
	mixed.Ports.Posterior = []Model{{Model: nat.Sequential, Probability: .6},
		{nat.Band, .3, Parameters{Low: 39900, High: 40100, Widths: []Width{{251, .5}, {300, .5}}}}, {Model: nat.Preserving, Probability: .1}}
	keeps := hard(nat.Preserving, Parameters{})
	keeps.PooledAddresses = 4
	return []Behavior{
		{}, eim, open, {Mapping: nat.EndpointOrAddress}, {Mapping: nat.AddressOrPort}, keeps, mixed,
		drawnFrom(64512), drawnFrom(251), sequential(1, 0, 1, 1), sequential(-2, 50, 1.2, 1), sequential(1, 265, 1.1, 7),
		hard(nat.Parity, Parameters{Low: 1024, High: 65535, Widths: []Width{{32256, 1}}}),
	}
}

func TestCandidatesAreRankedAndAreProbabilities(t *testing.T) {
	for _, b := range behaviors() {
		for _, n := range []int{-1, 0, 1, 7, 1000, 100000} {
			list := Candidates(party(b), n)
			sum := 0.0
			seen := map[netip.AddrPort]bool{}
			for i, c := range list {
				sum += c.Probability
				if c.Probability <= 0 || i > 0 && c.Probability > list[i-1].Probability || seen[c.Addr] || c.Addr.Port() == 0 {
					t.Fatalf("%s: candidate %d is %v", text(b), i, c)
				}
				seen[c.Addr] = true
			}
			if sum > 1+1e-9 || len(list) > max(n, 0) {
				t.Errorf("%s, n=%d: %d candidates with sum %v", text(b), n, len(list), sum)
			}
		}
	}
}

// The least budgets for 50, 95 and 99.9 per cent follow from
// 1 − C(N−m,k)/C(N,k) with m = k.
func TestHitNeedsThePublishedBudget(t *testing.T) {
	for _, test := range []struct {
		ports, budget int
		want          float64
	}{
		{64500, 423, .50}, {64500, 877, .95}, {64500, 1329, .999},
		{15535, 207, .50}, {15535, 429, .95}, {15535, 649, .999},
		{1024, 53, .50}, {1024, 108, .95}, {1024, 162, .999},
		{512, 38, .50}, {512, 76, .95}, {512, 113, .999},
		{251, 26, .50}, {251, 52, .95}, {251, 77, .999},
		{128, 19, .50}, {128, 37, .95}, {128, 53, .999},
	} {
		// At the budget it is reached, two SYNs earlier (one on each side) not.
		b := drawnFrom(test.ports)
		at, before := Hit(eim, b, test.budget), Hit(eim, b, test.budget-2)
		if at < test.want-0.0005 || before >= test.want {
			t.Errorf("N=%d, n=%d: got %.4f (n−2: %.4f), want the first ≥ %v", test.ports, test.budget, at, before, test.want)
		}
	}
}

// Both sides drawing, each aims at one port of the other: m/N_A · k/N_B.
func TestTwoNarrowRangesMeetAtOnePoint(t *testing.T) {
	for _, test := range []struct {
		ports, budget int
		want          float64
	}{{251, 490, 245. * 245 / 251 / 251}, {128, 128, .25}, {64512, 2000, 1e6 / 64512 / 64512}} {
		plan := NewPlan(party(drawnFrom(test.ports)), party(drawnFrom(test.ports)), test.budget)
		if plan.Method != OnePoint || math.Abs(plan.Probability-test.want) > 1e-4 {
			t.Errorf("%d ports, %d SYNs: got %v %.4f, want one-point %.4f", test.ports, test.budget, plan.Method, plan.Probability, test.want)
		}
		if len(plan.A.Ports) != 1 || len(plan.B.Ports) != 1 || !plan.A.Fresh || !plan.B.Fresh {
			t.Errorf("got %+v, want one port each, from fresh local ports", plan)
		}
	}
}

func TestPairWithKnownPortsIsCertain(t *testing.T) {
	for _, test := range []struct {
		a, b   Behavior
		budget int
		want   float64
		syns   int
	}{{eim, eim, 2, 1, 2}, {eim, eim, 1, 0, 0}, {eim, open, 1, 1, 1}, {open, eim, 1, 1, 1}, {drawnFrom(64000), open, 1, 1, 1}, {eim, eim, 0, 0, 0}, {eim, eim, 2000, 1, 2}} {
		plan := NewPlan(party(test.a), party(test.b), test.budget)
		if plan.Probability != test.want || plan.A.SYNs+plan.B.SYNs != test.syns {
			t.Errorf("budget %d: got %v with %d SYNs, want %v with %d", test.budget, plan.Probability, plan.A.SYNs+plan.B.SYNs, test.want, test.syns)
		}
	}
}

func TestPlanIsASymmetricProbabilityThatGrowsWithTheBudget(t *testing.T) {
	for _, a := range behaviors() {
		for _, b := range behaviors() {
			last := 0.0
			for _, budget := range []int{-1, 0, 1, 2, 3, 10, 33, 1000, math.MaxInt} {
				plan, other := NewPlan(party(a), party(b), budget), NewPlan(party(b), party(a), budget)
				p := plan.Probability
				if p < last*enoughShare*enoughShare || p > 1 || math.IsNaN(p) {
					t.Fatalf("%s × %s, budget %d: %v after %v", text(a), text(b), budget, p, last)
				}
				if q := other.Probability; math.Abs(p-q) > 1e-9 {
					t.Errorf("%s × %s, budget %d: %v one way, %v the other", text(a), text(b), budget, p, q)
				}
				if plan.A.SYNs < 0 || plan.B.SYNs < 0 || plan.A.SYNs+plan.B.SYNs > max(budget, 0) {
					t.Errorf("budget %d: plan of %d and %d SYNs", budget, plan.A.SYNs, plan.B.SYNs)
				}
				for _, s := range []Side{plan.A, plan.B} {
					if s.SYNs > 0 && (len(s.Ports) == 0 || slices.Contains(s.Ports, 0) || s.Target(0).Addr() != wan) {
						t.Errorf("budget %d: %d SYNs to %v", budget, s.SYNs, s.Ports)
					}
				}
				last = max(last, p)
			}
		}
	}
}

// A comb of m mappings and k ports at every m-th index covers m·k values of J.
func TestCombCoversTheProductOfItsSides(t *testing.T) {
	side := party(sequential(3, 200, 1, 1)) // J is Poisson with mean 60
	plan := NewPlan(side, party(eim), 12)
	if plan.Method != Comb || plan.A.SYNs != 6 || plan.B.SYNs != 6 {
		t.Fatalf("got %+v, want a comb of 6 and 6", plan)
	}
	for i, port := range plan.B.Ports[1:] {
		if d := port - plan.B.Ports[i]; d != 6*3 {
			t.Errorf("tooth %d is %d ports on, want 6 mappings of 3", i+1, d)
		}
	}
	want := 0.0
	first := int(plan.B.Ports[0]-40000)/3 - 6
	for j := first; j < first+36; j++ {
		want += arrivals(j, 60, 1)
	}
	if math.Abs(plan.Probability-want) > 0.003 || want < 0.97 {
		t.Errorf("got %.4f, want Σ P(J) = %.4f", plan.Probability, want)
	}
}

// After a failed round the mappings that it made have taken ports.
func TestNextRoundAimsPastTheMappingsOfTheLast(t *testing.T) {
	a := Party{Behavior: sequential(1, 0, 1, 1), Outside: netip.AddrPortFrom(wan, 40000)}
	b := party(eim)
	first := NewPlan(a, b, 16)
	next := a.After(first.A, time.Second)
	second := NewPlan(next, b.After(first.B, time.Second), 16)
	if first.B.Ports[0] != 40001 || second.B.Ports[0] != 40001+uint16(first.A.SYNs) {
		t.Errorf("aimed at %v and then %v after %d mappings", first.B.Ports, second.B.Ports, first.A.SYNs)
	}
}

func TestPlanIsTheSameAfterATripThroughJSON(t *testing.T) {
	for _, a := range behaviors() {
		if err := a.Check(); err != nil {
			t.Errorf("%s: %v", text(a), err)
		}
		var got Behavior
		if err := json.Unmarshal([]byte(text(a)), &got); err != nil {
			t.Fatal(err)
		}
		for _, b := range behaviors() {
			want := NewPlan(party(a), party(b), 100)
			if got := NewPlan(party(got), party(b), 100); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %+v, want %+v", text(a), got, want)
			}
		}
	}
}

// What Check lets through may be false, but not costly or harmful.
func TestHostileBehaviourStaysAProbability(t *testing.T) {
	widest := make([]Traffic, maxTraffic)
	for i := range widest {
		widest[i] = Traffic{maxRate, maxRatio, maxRatio, maxDispersion, 1}
	}
	for _, b := range []Behavior{
		{Mapping: nat.PerConnection, PooledAddresses: math.MaxInt},
		hard(nat.Sequential, Parameters{Delta: 65535, Traffic: widest}),
		hard(nat.Sequential, Parameters{Delta: -1}),
		hard(nat.Random, Parameters{Low: 0, High: 65535, Widths: []Width{{1, 0}}}),
		hard(nat.Band, Parameters{Low: 40000, High: 40000, Widths: []Width{{65535, 1}, {1, 1}}}),
		hard(nat.Parity, Parameters{}),
	} {
		if err := b.Check(); err != nil {
			t.Errorf("%s: %v", text(b), err)
		}
		for _, other := range append(behaviors(), b) {
			if p := NewPlan(party(b), party(other), 2048).Probability; !(p >= 0 && p <= 1) {
				t.Errorf("%s: %v", text(b), p)
			}
		}
		Candidates(party(b), 1000)
	}
}

func TestBehaviourOutOfBoundsIsRefused(t *testing.T) {
	for _, b := range []Behavior{
		{Mapping: 200}, {Filtering: 9}, {PooledAddresses: -1},
		{Ports: Ports{Model: 99}}, {Ports: Ports{Seen: []uint16{0}}}, {Ports: Ports{Seen: make([]uint16, maxSeen+1)}},
		{Ports: Ports{Posterior: make([]Model, maxModels+1)}},
		{Ports: Ports{Posterior: []Model{{Probability: math.NaN()}}}},
		{Ports: Ports{Posterior: []Model{{Probability: .6}, {Probability: .6}}}},
		hard(nat.Sequential, Parameters{Delta: 1, Traffic: []Traffic{{math.Inf(1), 1, 1, 1, 1}}}),
		hard(nat.Sequential, Parameters{Delta: 1, Traffic: []Traffic{{1, 0, 1, 1, 1}}}),
		hard(nat.Sequential, Parameters{Delta: 1, Traffic: []Traffic{{1, 1, .5, 1, 1}}}),
		hard(nat.Random, Parameters{Low: 9, High: 3}),
		hard(nat.Random, Parameters{Widths: []Width{{0, 1}}}),
	} {
		if b.Check() == nil {
			t.Errorf("%+v was accepted", b)
		}
	}
}

// The foretold probabilities sum to 1, whatever the traffic.
func TestForeignTrafficIsADistribution(t *testing.T) {
	for _, traffic := range []Traffic{{0, 1, 1, 1, 1}, {50, 1.2, 0, 1, 1}, {265, 1.1, 1.3, 7, 1}, {5, 3, 1, 25, 1}, {5, 1, 2, 25, 1}, {1000, 1, 1, 2, 1}} {
		r := newRun(1, Parameters{Delta: 1, Traffic: []Traffic{traffic}}, time.Second, 0)
		if got := r.sums[len(r.first)]; math.Abs(got-1) > 1e-4 {
			t.Errorf("%+v: sum %v, want 1", traffic, got)
		}
		if traffic.Ratio == 1 && traffic.below() == 1 {
			for _, n := range []int{0, 3, 50, 265, 300} {
				want := arrivals(n, traffic.Rate, traffic.Dispersion)
				if n < len(r.first) && math.Abs(r.first[n]-want) > 1e-9 {
					t.Errorf("%+v: P(%d) = %v, want %v", traffic, n, r.first[n], want)
				}
			}
		}
	}
}

func TestObservationAndBehaviourSurviveJSON(t *testing.T) {
	o := observed(sighting{a1, 6000})[0]
	doc := `{"at":"2026-01-02T03:04:05Z","local":"192.168.0.2:5000","server":"198.51.100.1:3478","reflexive":"203.0.113.1:6000"}`
	if got := text(o); got != doc {
		t.Errorf("observation:\ngot  %s\nwant %s", got, doc)
	}
	for _, want := range behaviors() {
		var got Behavior
		if err := json.Unmarshal([]byte(text(want)), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}
