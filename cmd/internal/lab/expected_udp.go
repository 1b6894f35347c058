package lab

import (
	"time"

	"tcppunch/predict/nat"
)

// expectDatagrams is Expect for UDP. What boxes do to SYNs, resets and sequence
// numbers does not touch it, and a socket answers whoever it hears, so that one
// side's port need not be known where the other side's box lets any port of a
// known address in. What must be guessed is aimed at once, as with TCP.
func expectDatagrams(a, b Profile, t Terms) Expectation {
	switch {
	case a.Shared || b.Shared:
		return Expectation{1, "the two reach each other inside"}
	case !reachable(a, b):
		return Expectation{0, noFamily}
	}
	hit := datagramHit(a, b, t)
	kept := 1 - taken(b, t.Delay-t.Skew, t) - taken(a, t.Delay+t.Skew, t)
	switch {
	case hit < 1:
		return Expectation{hit * max(kept, 0), "the ports must be guessed"}
	case kept < 1:
		return Expectation{max(kept, 0), "a datagram that comes too early takes the port"}
	}
	return Expectation{1, "the ports are known, or learnt from what arrives"}
}

// datagramHit is the probability that datagrams of either side get in.
func datagramHit(a, b Profile, t Terms) float64 {
	switch steadyA, steadyB := !moves(a), !moves(b); {
	case steadyA && steadyB, steadyB && admitsAnyPort(b), steadyA && admitsAnyPort(a):
		return 1
	}
	t.Budget = 2 // one port a side is aimed at, however often
	return hitOf(a, b, t)
}

// admitsAnyPort says that what comes from any port of an address that the inside
// has sent to gets in.
func admitsAnyPort(p Profile) bool {
	for _, b := range p.Boxes {
		if f := b.Behavior.Filtering; f != nat.FilterEndpointIndependent && f != nat.FilterAddressDependent {
			return false
		}
	}
	return true
}

// taken is the probability that the peer's first datagram comes before the
// box's own side has sent, by margin on the mean, and that a box which takes
// such packets for itself then gives the port away.
func taken(p Profile, margin time.Duration, t Terms) float64 {
	if len(p.Boxes) == 0 {
		return 0
	}
	outer := p.Boxes[len(p.Boxes)-1]
	if outer.Engine != Netfilter || outer.Behavior.Unsolicited != nat.Poison {
		return 0
	}
	return 1 - normal(float64(margin)/float64(t.Spread))
}
