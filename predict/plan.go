package predict

import (
	"math"

	"tcppunch/predict/nat"
)

// Hit is the probability that a pair with these behaviours hits within budget
// SYNs of both together: that one SYN of each side carries the addresses that
// the other's NAT expects. That the network then lets the crossing pass is
// another question.
func Hit(a, b Behavior, budget int) float64 { return NewPlan(a, b, budget).Probability }

// NewPlan divides budget SYNs, both sides' together, so that the hit is
// likeliest. An unknown mapping counts as probably endpoint-independent, an
// unknown port assignment as uniform over all user ports, and an unknown filtering as address-and-port-dependent.
func NewPlan(a, b Behavior, budget int) Plan {
	const largest = 1 << 20 // SYNs; what lies beyond is no punch, and takes long to compute
	m, k, p := divide(a, b, min(max(budget, 0), largest))
	return Plan{A: Side{a, m}, B: Side{b, k}, Probability: p}
}

func divide(a, b Behavior, budget int) (m, k int, p float64) {
	switch ka, kb := predictable(a), predictable(b); {
	case ka == fixedPort && kb == fixedPort:
		return bothFixed(a, b, budget)
	case ka == fixedPort:
		k, m, p = againstFixed(b, a, budget)
		return m, k, p
	case kb == fixedPort:
		return againstFixed(a, b, budget)
	case ka == anyPort && kb == anyPort:
		return bothUniform(a, b, budget)
	}
	return onePoint(a, b, budget)
}

// bothFixed: EIM × EIM. Each side's mapping stands before the other aims at
// it, so one SYN each does it for certain. Where a filter asks nothing, it
// suffices that that side's port was foretold, and one SYN to it will do.
func bothFixed(a, b Behavior, budget int) (m, k int, p float64) {
	alone := 0.0
	if open(a) {
		m, k, alone = 0, 1, stays(a)
	}
	if open(b) && stays(b) > alone {
		m, k, alone = 1, 0, stays(b)
	}
	if budget < 2 {
		return min(m, budget), min(k, budget), alone * float64(budget)
	}
	return 1, 1, max(alone, stays(a)*stays(b))
}

// open reports whether any endpoint may use the side's standing mapping.
func open(b Behavior) bool {
	return b.Filtering == nat.FilterEndpointIndependent
}

// againstFixed plans for a hard side and one whose port is known. The hard
// side opens m mappings, all aimed at that port; the fixed side aims k SYNs
// at where they may be.
func againstFixed(hard, fixed Behavior, budget int) (m, k int, p float64) {
	switch {
	case open(fixed) && budget >= 1: // any source passes
		return 1, 0, stays(fixed)
	case fixed.Filtering == nat.FilterAddressDependent && budget >= 2: // any port, once the address was sent to
		return 1, 1, stays(fixed) / float64(addresses(hard))
	}
	m = budget / 2
	k = budget - m
	chance := fixedUniform
	if predictable(hard) == nextPorts {
		chance = fixedSequential
	}
	return m, k, stays(fixed) * chance(hard, m, k)
}

// fixedUniform: m distinct ports are open out of N, k distinct ones are
// tried. The tries all miss with C(N−m,k)/C(N,k) = Π (N−m−i)/(N−i), about
// e^(−mk/N), so that m = k = n/2 is best.
func fixedUniform(hard Behavior, m, k int) float64 {
	n := choices(hard)
	miss := 1.0
	for i := range min(k, n) {
		miss *= max(0, float64(n-m-i)/float64(n-i))
	}
	return 1 - miss
}

// fixedSequential: the m mappings are consecutive after J foreign ones, and
// the k targets lie m steps apart, so that together they cover m·k steps: it
// hits if J ≤ mk−1. The product is largest at m = k = n/2.
func fixedSequential(hard Behavior, m, k int) float64 {
	if m*k == 0 {
		return 0
	}
	return foreignAtMost(hard, m*k-1) / float64(addresses(hard))
}

// bothUniform: a's i-th SYN leaves from a random one of N_A ports towards a
// random one of N_B, and b's likewise. A given pair matches with
// 1/(N_A N_B); of the m·k pairs at least one does with 1 − e^(−mk/(N_A N_B)).
func bothUniform(a, b Behavior, budget int) (m, k int, p float64) {
	m = budget / 2
	k = budget - m
	pairs := float64(m) * float64(k)
	return m, k, -math.Expm1(-pairs / (float64(choices(a)) * float64(choices(b))))
}

// onePoint: hard × hard with a sequential side. All of a's SYNs go to one
// port of b and all of b's to one port of a. It hits if each point is among
// the other's mappings, and the sides decouple: P = P_A · P_B. With m
// mappings a sequential side covers its point unless more than m−1 foreign
// mappings came first; a uniform one covers it with m/N.
func onePoint(a, b Behavior, budget int) (m, k int, p float64) {
	if predictable(a) != nextPorts {
		k, m, p = onePoint(b, a, budget)
		return m, k, p
	}
	for i := range budget {
		if q := covers(a, i+1) * covers(b, budget-i-1); q > p {
			m, k, p = i+1, budget-i-1, q
		}
		if foreignAtMost(a, i) > saturated {
			break
		}
	}
	return m, k, p
}

// saturated is where more SYNs of a sequential side cannot help any more.
const saturated = 1 - 1e-9

// covers is the probability that m new mappings include a port chosen for
// that beforehand.
func covers(side Behavior, m int) float64 {
	if m == 0 {
		return 0
	}
	if predictable(side) == nextPorts {
		return foreignAtMost(side, m-1) / float64(addresses(side))
	}
	return min(1, float64(m)/float64(choices(side)))
}
