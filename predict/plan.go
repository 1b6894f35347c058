package predict

import (
	"net/netip"
	"time"

	"tcppunch/predict/nat"
)

// Method is how a plan makes the two sides meet.
type Method string

// The methods. Their formulas stand where they are computed: in direct.go,
// birthday.go, comb.go and onepoint.go.
const (
	Hopeless Method = "hopeless"  // no budget, or nothing to aim at
	Direct   Method = "direct"    // both ports are known: one SYN each
	Listen   Method = "listen"    // one side's filter lets the other in
	Birthday Method = "birthday"  // many mappings of one side, tries of the other at ports drawn from a range
	Comb     Method = "comb"      // mappings that follow one another, tries as far apart as there are mappings
	OnePoint Method = "one-point" // each side sends all to one port of the other
)

// Side is one peer's part in a plan.
type Side struct {
	SYNs  int        `json:"syns"`  // connection attempts that this side makes; 0: its mapping that stands is enough
	Fresh bool       `json:"fresh"` // each from a local port of its own; else all from the one that was observed
	Odd   *bool      `json:"odd"`   // whether those local ports must be odd or even; nil: either
	Addr  netip.Addr `json:"addr"`  // of the peer
	Ports []uint16   `json:"ports"` // of the peer, the likeliest first: SYN i goes to the one with index i modulo their number
}

// Target is where SYN i goes.
func (s Side) Target(i int) netip.AddrPort {
	return netip.AddrPortFrom(s.Addr, s.Ports[i%len(s.Ports)])
}

// Plan divides a SYN budget between two peers. All sockets are alive together,
// and both sides begin at the same instant.
type Plan struct {
	Method      Method        `json:"method"`
	A           Side          `json:"a"`
	B           Side          `json:"b"`
	Spacing     time.Duration `json:"spacing_ns"`  // between two SYNs of a side, at which the probability was computed
	Probability float64       `json:"probability"` // that a SYN of each side carries the endpoints that the other's NAT expects
}

// Hit is the probability that a pair with these behaviours hits within budget
// SYNs of both together, launched at once after the last observation. That the
// network then lets the crossing pass is another question.
func Hit(a, b Behavior, budget int) float64 {
	return NewPlan(Party{Behavior: a}, Party{Behavior: b}, budget).Probability
}

// enoughShare is how much of the best probability a plan keeps while it leaves
// out SYNs that hardly help.
const enoughShare = 1 - 1e-4

// largestBudget bounds the work: what lies beyond is no punch.
const largestBudget = 1 << 17

// NewPlan divides budget SYNs, both sides' together, so that the hit is
// likeliest, and spends fewer where more do not help. It is a pure function of
// its arguments, to the last bit on every machine, so that both peers compute
// the same plan if they agree on who is a. An unknown mapping counts as
// probably endpoint-independent, unknown ports as uniform over all user ports,
// and an unknown filtering as address-and-port-dependent.
func NewPlan(a, b Party, budget int) Plan {
	return newPlan(sideOf(a), sideOf(b), budget)
}

// newPlan is NewPlan for sides whose forecasts are made, which further budgets
// can share.
func newPlan(x, y *side, budget int) Plan {
	p := planFor(x, y, min(max(budget, 0), largestBudget))
	p.Spacing = spacing
	p.A.Addr, p.B.Addr = y.outside.Addr(), x.outside.Addr()
	p.Probability = min(p.Probability, 1)
	if p.Probability <= 0 {
		return Plan{Method: Hopeless, Spacing: spacing}
	}
	return p
}

func planFor(x, y *side, budget int) Plan {
	switch {
	case x.fixed && y.fixed:
		return direct(x, y, budget)
	case x.fixed:
		return swapped(againstFixed(y, x, budget))
	case y.fixed:
		return againstFixed(x, y, budget)
	}
	return onePoint(x, y, budget)
}

func swapped(p Plan) Plan {
	p.A, p.B = p.B, p.A
	return p
}

// After is the party when a round has failed: the mappings of that round took
// ports, and time has passed since the observations.
func (p Party) After(s Side, elapsed time.Duration) Party {
	if s.Fresh {
		p.Spent += s.SYNs
	}
	p.Gap += elapsed
	return p
}

// A side is a party with what can be foretold of it.
type side struct {
	fixed    bool           // the peer sees the port that servers saw
	stays    float64        // probability of that
	outside  netip.AddrPort // that servers saw
	open     bool           // any endpoint may use its standing mapping
	address  bool           // any port of an address may that it has sent to
	forecast forecast
	points   []point // of the forecast, as many as were asked for yet
}

func sideOf(p Party) *side {
	s := &side{
		outside: p.Outside,
		open:    p.Behavior.Filtering == nat.FilterEndpointIndependent,
		address: p.Behavior.Filtering == nat.FilterAddressDependent,
	}
	s.forecast = forecastOf(p)
	kept := s.forecast.kept()
	s.fixed = !p.Behavior.Mapping.Dependent() || kept > 0.5
	s.stays = stays(p.Behavior, kept)
	return s
}

// kept is the probability that the inside port is.
func (f forecast) kept() float64 {
	sum := 0.0
	for _, p := range f.parts {
		if p.kept {
			sum += p.weight
		}
	}
	return sum
}

// Shares of NATs whose mapping depends on the endpoint (Richter 2016), used
// where the observations could not decide.
const (
	dependentAtHome  = 0.02 // upper bound; among those whose mapping ignores the port
	dependentCarrier = 0.11 // fixed-line carrier NAT; when nothing was compared
)

// stays is the probability that the peer sees the port that servers saw.
func stays(b Behavior, kept float64) float64 {
	clash := clashes / (clashes + noClashes + float64(len(b.Ports.Seen)))
	keeps := float64(kept*(1-clash)) / float64(addresses(b))
	switch b.Mapping {
	case nat.EndpointIndependent:
		return 1
	case nat.EndpointOrAddress:
		return 1 - float64(dependentAtHome*(1-keeps))
	case nat.MappingUnknown:
		return 1 - float64(dependentCarrier*(1-keeps))
	}
	return keeps
}

// addresses is the number of equally likely outside addresses (arbitrary
// pooling draws anew), bounded because behaviours also come from peers.
func addresses(b Behavior) int {
	const largest = 1024
	return min(max(b.PooledAddresses, 1), largest)
}
