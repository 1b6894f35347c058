package predict

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	local = netip.MustParseAddrPort("192.168.0.2:5000")
	a1    = netip.MustParseAddrPort("198.51.100.1:3478")
	a2    = netip.MustParseAddrPort("198.51.100.1:3479") // the second port
	b1    = netip.MustParseAddrPort("198.51.100.2:3478") // the second address
	b2    = netip.MustParseAddrPort("198.51.100.2:3479")
	wan   = netip.MustParseAddr("203.0.113.1")
)

// A sighting is a server and the outside port that it saw.
type sighting struct {
	server netip.AddrPort
	port   uint16
}

func observed(s ...sighting) []Observation {
	var obs []Observation
	for i, x := range s {
		obs = append(obs, Observation{start.Add(time.Duration(i) * time.Millisecond), local, x.server, netip.AddrPortFrom(wan, x.port)})
	}
	return obs
}

func TestClassifySaysNoMoreThanObservationsShow(t *testing.T) {
	yes := new(true)
	for name, test := range map[string]struct {
		obs  []Observation
		want Behavior
	}{
		"nothing": {nil, Behavior{}},
		"one server": {observed(sighting{a1, 6000}),
			Behavior{Translated: yes, PooledAddresses: 1}},
		"one server, preserved": {observed(sighting{a1, 5000}),
			Behavior{Translated: yes, Ports: nat.Preserving, PooledAddresses: 1}},
		"ports of one address agree": {observed(sighting{a1, 6000}, sighting{a2, 6000}),
			Behavior{Translated: yes, Mapping: nat.EndpointOrAddress, PooledAddresses: 1}},
		"addresses agree": {observed(sighting{a1, 6000}, sighting{b1, 6000}),
			Behavior{Translated: yes, Mapping: nat.EndpointIndependent, PooledAddresses: 1}},
		"addresses agree, preserved": {observed(sighting{a1, 5000}, sighting{b1, 5000}),
			Behavior{Translated: yes, Mapping: nat.EndpointIndependent, Ports: nat.Preserving, PooledAddresses: 1}},
		"ports of one address differ": {observed(sighting{a1, 6000}, sighting{a2, 9000}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, PooledAddresses: 1}},
		"addresses differ": {observed(sighting{a1, 6000}, sighting{b1, 9000}),
			Behavior{Translated: yes, Mapping: nat.AddressOrPort, PooledAddresses: 1}},
		"addresses differ, ports agree": {observed(sighting{a1, 6000}, sighting{a2, 6000}, sighting{b1, 9000}, sighting{b2, 9000}),
			Behavior{Translated: yes, Mapping: nat.AddressDependent, PooledAddresses: 1}},
		"sequential": {observed(sighting{a1, 6000}, sighting{a2, 6001}, sighting{b1, 6002}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: nat.Sequential, Delta: 1, Gaps: 2, PooledAddresses: 1}},
		"sequential downwards through zero": {observed(sighting{a1, 100}, sighting{a2, 65436}, sighting{b1, 65236}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: nat.Sequential, Delta: -200, Gaps: 2, PooledAddresses: 1}},
		"random": {observed(sighting{a1, 2000}, sighting{a2, 61000}, sighting{b1, 40000}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: nat.Random, Low: 1024, High: 65535, PooledAddresses: 1}},
		"random as pf does": {observed(sighting{a1, 50500}, sighting{a2, 61000}, sighting{b1, 55000}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: nat.Random, Low: 50001, High: 65535, PooledAddresses: 1}},
		"preserved first, drawn after the clash": {observed(sighting{a1, 5000}, sighting{a2, 61000}, sighting{b1, 51000}, sighting{b2, 55000}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: nat.Random, Low: 50001, High: 65535, PooledAddresses: 1}},
		"band": {observed(sighting{a1, 7000}, sighting{a2, 7100}, sighting{b1, 7050}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: nat.Random, Low: 6950, High: 7150, PooledAddresses: 1}},
	} {
		if got := Classify(test.obs); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, text(got), text(test.want))
		}
	}
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestUntranslatedHostIsFoundWhereItIs(t *testing.T) {
	obs := []Observation{{start, local, a1, local}}
	b := Classify(obs)
	if b.Translated == nil || *b.Translated || b.Mapping != nat.EndpointIndependent {
		t.Errorf("got %s, want no translation", text(b))
	}
	if got, want := Candidates(b, obs, 9), []Candidate{{local, 1}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWildcardLocalAddressLeavesTranslationUnknown(t *testing.T) {
	o := observed(sighting{a1, 5000})
	o[0].Local = netip.MustParseAddrPort("0.0.0.0:5000")
	if b := Classify(o); b.Translated != nil {
		t.Errorf("translated: got %v, want unknown", *b.Translated)
	}
}

func TestFamiliesAreNotComparedWithEachOther(t *testing.T) {
	both := netip.MustParseAddrPort("[::]:5000")
	obs := []Observation{
		{start, both, netip.MustParseAddrPort("[::ffff:198.51.100.1]:3478"), netip.MustParseAddrPort("[::ffff:203.0.113.1]:6000")},
		{start.Add(1), both, netip.MustParseAddrPort("[2001:db8::1]:3478"), netip.MustParseAddrPort("[2001:db8:1::1]:5000")},
	}
	if b := Classify(obs); b.Mapping != nat.MappingUnknown || b.PooledAddresses != 1 {
		t.Errorf("got %s, want unknown mapping and one address", text(b))
	}
}

func TestClassifyDoesNotDependOnTheOrderOfItsInput(t *testing.T) {
	obs := observed(sighting{a1, 6000}, sighting{a2, 6001}, sighting{b1, 6002}, sighting{b2, 6003})
	want := Classify(obs)
	slices.Reverse(obs)
	if got := Classify(obs); !reflect.DeepEqual(got, want) {
		t.Errorf("reversed: got %s, want %s", text(got), text(want))
	}
}

func TestCandidatesAreRankedAndAreProbabilities(t *testing.T) {
	obs := observed(sighting{a1, 6000})
	for _, b := range behaviors() {
		for _, n := range []int{-1, 0, 1, 7, 1000, 100000} {
			list := Candidates(b, obs, n)
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

func TestRandomCandidatesHaveOneOverN(t *testing.T) {
	obs := observed(sighting{a1, 2000}, sighting{a2, 61000}, sighting{b1, 40000})
	list := Candidates(Classify(obs), obs, 100)
	if len(list) != 100 || list[0].Probability != 1.0/64512 {
		t.Errorf("got %d candidates at %v, want 100 at 1/64512", len(list), list[0].Probability)
	}
}

// behaviors are one of each kind.
func behaviors() []Behavior {
	return []Behavior{
		{},
		{Mapping: nat.EndpointIndependent},
		{Mapping: nat.EndpointIndependent, Filtering: nat.FilterEndpointIndependent},
		{Mapping: nat.EndpointOrAddress},
		{Mapping: nat.AddressOrPort},
		{Mapping: nat.AddressDependent, Ports: nat.Preserving, PooledAddresses: 4},
		uniform(1024, 65535),
		uniform(7000, 7250),
		sequential(2),
		sequential(11),
	}
}

func uniform(low, high uint16) Behavior {
	return Behavior{Mapping: nat.AddressAndPortDependent, Ports: nat.Random, Low: low, High: high}
}

func sequential(gaps int) Behavior {
	return Behavior{Mapping: nat.AddressAndPortDependent, Ports: nat.Sequential, Delta: 1, Gaps: gaps}
}

var eim = Behavior{Mapping: nat.EndpointIndependent, Filtering: nat.FilterAddressAndPortDependent}

// width makes a uniform behaviour over n ports.
func width(n int) Behavior { return uniform(1024, uint16(1023+n)) }

// The least budgets for 50, 95 and 99.9 per cent follow from
// 1 − C(N−m,k)/C(N,k) with m = k, and from 1 − e^(−mk/(N_A N_B)).
func TestHitNeedsThePublishedBudget(t *testing.T) {
	for _, test := range []struct {
		a, b   Behavior
		budget int
		want   float64
	}{
		{eim, width(64512), 423, .50}, {eim, width(64512), 877, .95}, {eim, width(64512), 1329, .999},
		{eim, width(15535), 207, .50}, {eim, width(15535), 429, .95}, {eim, width(15535), 649, .999},
		{eim, width(1024), 53, .50}, {eim, width(1024), 108, .95}, {eim, width(1024), 162, .999},
		{eim, width(512), 38, .50}, {eim, width(512), 76, .95}, {eim, width(512), 113, .999},
		{eim, width(251), 26, .50}, {eim, width(251), 52, .95}, {eim, width(251), 77, .999},
		{eim, width(128), 19, .50}, {eim, width(128), 37, .95}, {eim, width(128), 53, .999},
		{width(512), width(512), 1773, .95},
		{width(251), width(251), 869, .95},
		{width(128), width(128), 444, .95},
	} {
		// At the budget it is reached, two SYNs earlier (one on each side) not.
		at, before := Hit(test.a, test.b, test.budget), Hit(test.a, test.b, test.budget-2)
		if at < test.want-0.0005 || before >= test.want {
			t.Errorf("N=%d×%d, n=%d: got %.4f (n−2: %.4f), want the first ≥ %v",
				choices(test.a), choices(test.b), test.budget, at, before, test.want)
		}
	}
	if got := Hit(width(64512), width(64512), 223_000); math.Abs(got-.95) > .001 {
		t.Errorf("uniform 64512 twice: got %.4f, want .95", got)
	}
}

func TestHitOfEndpointIndependentPairIsCertain(t *testing.T) {
	open := Behavior{Mapping: nat.EndpointIndependent, Filtering: nat.FilterEndpointIndependent}
	for _, test := range []struct {
		a, b   Behavior
		budget int
		want   float64
	}{{eim, eim, 2, 1}, {eim, eim, 1, 0}, {eim, open, 1, 1}, {open, eim, 1, 1}, {width(64512), open, 1, 1}, {eim, eim, 0, 0}} {
		if got := Hit(test.a, test.b, test.budget); got != test.want {
			t.Errorf("budget %d: got %v, want %v", test.budget, got, test.want)
		}
	}
}

func TestHitIsASymmetricProbabilityThatGrowsWithTheBudget(t *testing.T) {
	for _, a := range behaviors() {
		for _, b := range behaviors() {
			last := 0.0
			for _, budget := range []int{-1, 0, 1, 2, 3, 10, 33, 100, 1000, 200000, math.MaxInt} {
				plan := NewPlan(a, b, budget)
				p := plan.Probability
				if p < last-1e-9 || p > 1+1e-9 || math.IsNaN(p) {
					t.Fatalf("%s × %s, budget %d: %v after %v", text(a), text(b), budget, p, last)
				}
				if q := Hit(b, a, budget); math.Abs(p-q) > 1e-9 {
					t.Errorf("%s × %s, budget %d: %v one way, %v the other", text(a), text(b), budget, p, q)
				}
				if plan.A.SYNs < 0 || plan.B.SYNs < 0 || plan.A.SYNs+plan.B.SYNs > max(budget, 0) {
					t.Errorf("budget %d: plan of %d and %d SYNs", budget, plan.A.SYNs, plan.B.SYNs)
				}
				last = p
			}
		}
	}
}

func TestHostileBehaviourStaysAProbability(t *testing.T) {
	for _, b := range []Behavior{
		{Mapping: 200, Ports: 77, Filtering: 9, PooledAddresses: math.MaxInt, Gaps: -4},
		{Mapping: nat.PerConnection, Ports: nat.Sequential, Gaps: math.MaxInt, Delta: math.MinInt},
		{Mapping: nat.PerConnection, Ports: nat.Random, Low: 9, High: 3, PooledAddresses: -1},
		{Mapping: nat.PerConnection, Ports: nat.Random, Low: 0, High: 65535, PooledAddresses: math.MaxInt},
	} {
		for _, other := range append(behaviors(), b) {
			if p := Hit(b, other, math.MaxInt); !(p >= 0 && p <= 1+1e-9) {
				t.Errorf("%+v: %v", b, p)
			}
		}
		Candidates(b, observed(sighting{a1, 1}), math.MaxInt)
	}
}

// The foretold probabilities of a negative binomial sum to 1.
func TestForeignTrafficIsADistribution(t *testing.T) {
	for _, gaps := range []int{0, 1, 2, 11, 1000} {
		if got := foreignAtMost(sequential(gaps), 500); math.Abs(got-1) > 1e-6 {
			t.Errorf("%d gaps: sum %v, want 1", gaps, got)
		}
	}
}

func TestObservationAndBehaviourSurviveJSON(t *testing.T) {
	o := observed(sighting{a1, 6000})[0]
	doc := `{"at":"2026-01-02T03:04:05Z","local":"192.168.0.2:5000","server":"198.51.100.1:3478","reflexive":"203.0.113.1:6000"}`
	if got := text(o); got != doc {
		t.Errorf("observation:\ngot  %s\nwant %s", got, doc)
	}
	if got, want := text(Behavior{}), `{"translated":null,"mapping":null,"filtering":null,"ports":null}`; got != want {
		t.Errorf("unknown behaviour:\ngot  %s\nwant %s", got, want)
	}
	for _, want := range behaviors() {
		var got Behavior
		if err := json.Unmarshal([]byte(text(want)), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// Observations made through the translator are classified as it was
// configured, and the peer is then found at the first candidate, unless the
// port is drawn: a NAT that preserves draws once the port is taken.
func TestPredictionFindsThePeerFacingMapping(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	peer := netip.MustParseAddrPort("198.51.100.77:6001")
	for _, m := range []nat.Mapping{nat.EndpointIndependent, nat.AddressDependent, nat.AddressAndPortDependent} {
		for _, ports := range []nat.PortAssignment{nat.Preserving, nat.Sequential, nat.Random} {
			n, err := nat.NewTranslator(nat.Config{External: []netip.Addr{wan}, Mapping: m, Ports: ports, Delta: 3, Low: 20000, High: 29999, Seed: seed})
			if err != nil {
				t.Fatal(err)
			}
			obs := through(n, a1, a2, b1, b2, netip.MustParseAddrPort("198.51.100.3:3478"))
			b := Classify(obs)
			if b.Mapping != m {
				t.Errorf("%v %v: mapping %v", m, ports, b.Mapping)
			}
			drawn := m.Dependent() && ports != nat.Sequential
			if !drawn && m.Dependent() && b.Ports != ports {
				t.Errorf("%v %v: ports %v", m, ports, b.Ports)
			}
			got, list := send(n, peer), Candidates(b, obs, 200)
			if drawn == (list[0].Addr == got && list[0].Probability > .5) {
				t.Errorf("%v %v: peer sees %v, first candidate %v", m, ports, got, list[0])
			}
		}
	}
}

func through(n *nat.Translator, servers ...netip.AddrPort) []Observation {
	var obs []Observation
	for i, s := range servers {
		obs = append(obs, Observation{start.Add(time.Duration(i) * time.Millisecond), local, s, send(n, s)})
	}
	return obs
}

func send(n *nat.Translator, to netip.AddrPort) netip.AddrPort {
	return n.Outbound(nat.Packet{From: local, To: to, Flags: nat.SYN}, start).Packet.From
}
