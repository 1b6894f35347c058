package lab

import (
	"math"
	"time"

	"tcppunch/predict/nat"
)

// Terms are the circumstances of a meeting, as far as theory asks for them.
type Terms struct {
	Delay     time.Duration // one way
	Skew      time.Duration // how much later B launches than A, on the mean
	Spread    time.Duration // root mean square of what the skew differs by from that
	Budget    int           // SYNs of both sides together
	Datagrams bool          // they meet over UDP
	Crafts    bool          // what no SYN opens is tried with crafted SYN-ACKs
	Persists  bool          // refused SYNs are repeated, at swept phases, and then follows a round that resets cannot hurt
}

// launchSpread is the root mean square of the launches of two processes on one
// machine, in real time or not: docs/benchmarks.md, and what a shared path does
// to the clocks' comparison.
const launchSpread = 100 * time.Microsecond

// termsOf are the terms of the lab's meetings.
func termsOf(c Config) Terms {
	t := Terms{Delay: c.Delay, Skew: c.LateB + c.ResidualA, Spread: launchSpread + c.Jitter, Budget: c.Budget, Datagrams: c.overUDP(),
		Persists: c.Retries != 0 && c.Strategy != "simopen"}
	t.Crafts = t.Persists && (c.Strategy == "" || c.Strategy == "auto")
	if c.NoSync {
		t.Skew += c.SkewA - c.SkewB // a clock that is fast launches early
	}
	if t.Budget == 0 {
		t.Budget = defaultBudget
	}
	return t
}

// Expectation is what theory says of two profiles before anything has run.
type Expectation struct {
	Probability float64 `json:"probability"` // that they connect
	Because     string  `json:"because"`     // what decides, in a few words
}

// Why some pairs give up at once.
const (
	noFamily = "no address family in common"
	noSYN    = "the ports cannot be foretold, so no SYN is sent"
)

// Expect says how likely the clients of two profiles connect. It knows the
// behaviours and the tool's strategy, and nothing of any run.
func Expect(a, b Profile, t Terms) Expectation {
	switch {
	case t.Datagrams:
		return expectDatagrams(a, b, t)
	case a.Shared || b.Shared:
		return Expectation{1, "the two reach each other inside"}
	case !reachable(a, b):
		return Expectation{0, noFamily}
	case starved(a) || starved(b):
		return Expectation{0, "the quota does not even suffice for the preparations"}
	}
	hit := hitOf(a, b, t)
	switch {
	case hit < hopelessHit:
		return Expectation{0, noSYN}
	case denies(a) && denies(b) && t.Crafts && !moves(a) && !moves(b) && (letsAnswer(a, b) || letsAnswer(b, a)):
		return Expectation{1, "both boxes refuse the SYN of a crossing, and let the crafted answer to one in"}
	case denies(a) && denies(b):
		return Expectation{0, "both boxes refuse the SYN of a crossing"}
	}
	cross := crossing(a, b, t)
	if hit*cross < 1 {
		return Expectation{hit * cross, reason(hit, cross)}
	}
	if moves(a) || moves(b) {
		return Expectation{1, "the ports can be foretold, or one side lets the other in"}
	}
	return Expectation{1, "the ports are known, and the SYNs cross"}
}

// moves says that another destination sees another port.
func moves(p Profile) bool {
	for _, b := range p.Boxes {
		if b.Behavior.Mapping.Dependent() && b.Behavior.Ports > nat.Preserving {
			return true
		}
	}
	return false
}

func reason(hit, cross float64) string {
	if hit < cross {
		return "the ports must be guessed"
	}
	return "a reset meets what comes too early"
}

// hopelessHit is the probability below which the tool sends no SYN
// (punch.hopeless).
const hopelessHit = 0.01

func translated(p Profile) bool { return len(p.Boxes) > 0 && !p.Boxes[0].Behavior.Firewall }

// denies says that a side's boxes let no bare SYN of a crossing in. One such
// side does no harm: its own SYN opens the other's box, and the answer to it is
// a SYN-ACK.
func denies(p Profile) bool {
	for _, b := range p.Boxes {
		if b.Behavior.Crossing == nat.CrossingDrop || b.Behavior.Crossing == nat.CrossingReset {
			return true
		}
	}
	return false
}

// letsAnswer says that a SYN-ACK which one side crafts, to the number that the
// other one has told, arrives there: netfilter and what tracks windows like it take a
// SYN-ACK of who sent the SYN for invalid, and a box that rewrites numbers makes
// the told one wrong.
func letsAnswer(from, to Profile) bool {
	for _, b := range from.Boxes {
		if b.Engine == Netfilter || b.Behavior.Sequence == nat.SequenceWindow {
			return false
		}
	}
	for _, b := range to.Boxes {
		if b.Behavior.Sequence == nat.SequenceRewrite {
			return false
		}
	}
	return true
}

// resets says that a SYN which comes too early is answered, so that it takes
// its sender's connection with it.
func resets(p Profile) bool {
	if len(p.Boxes) == 0 {
		return true
	}
	outer := p.Boxes[len(p.Boxes)-1].Behavior
	switch outer.Unsolicited {
	case nat.Reset, nat.Poison, nat.Unreachable:
		return outer.Filtering != nat.FilterEndpointIndependent
	}
	return false
}

// crossing is the probability that no SYN meets a reset which ends the meeting.
// The skew is normal: a SYN of A is early at B's box if B launches more than the
// delay later, and the other way round. Silence does no harm, since the kernel
// repeats its SYN.
func crossing(a, b Profile, t Terms) float64 {
	if t.Persists && t.Skew.Abs() <= t.Delay+sweeps {
		return 1
	}
	p := 1.0
	if resets(b) {
		p -= 1 - normal(float64(t.Delay-t.Skew)/float64(t.Spread))
	}
	if resets(a) {
		p -= 1 - normal(float64(t.Delay+t.Skew)/float64(t.Spread))
	}
	return max(p, 0)
}

// sweeps is how far the second round reaches at least: its SYNs wait for each
// other so long (punch.lowTTLGap).
const sweeps = 20 * time.Millisecond

// normal is the distribution function of the standard normal distribution.
func normal(x float64) float64 { return (1 + math.Erf(x/math.Sqrt2)) / 2 }

// starved says that a box's quota is used up before the first SYN: a mapping
// for the coordinator, one for the SYN that asks the first router outside where
// it is, one for each exchange with the time server, two of the tests by
// dial-back, whose others have ended by then, and one for each of the two ports of
// the punch, or for each of their destinations.
func starved(p Profile) bool {
	for _, b := range p.Boxes {
		needs := 1 + 1 + 8 + 2 + 2
		if b.Behavior.Mapping.Dependent() {
			needs = 1 + 1 + 8 + 2 + 2*2
		}
		if q := b.Behavior.Quota; q > 0 && q < needs {
			return true
		}
	}
	return false
}
