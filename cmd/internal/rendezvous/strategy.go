package rendezvous

import (
	"errors"
	"fmt"
	"slices"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// Strategy is how a meeting tries to open the connection. The empty word stands
// for Auto.
type Strategy string

// The strategies. What each needs and what stops it is in docs/strategies.md.
const (
	Auto    Strategy = "auto"     // SimOpen, and what comes after it where that is refused; or what the peer names
	SimOpen Strategy = "simopen"  // both sides connect() at the instant, and again after a reset
	LowTTLs Strategy = LowTTL     // both open their own NAT by a SYN that dies before the other's; then one connects
	Listen  Strategy = "listen"   // SimOpen with a listener at the same port
	Reverse Strategy = "reverse"  // the side that anybody reaches listens, the other one connects
	Crafted Strategy = "crafted"  // as LowTTLs, and then a SYN-ACK to the number that the coordinator told
	FakeSYN Strategy = "fake-syn" // as LowTTLs, but the first SYN is no socket's; then both connect() with another number
)

// Strategies are all of them, Auto first.
var Strategies = []Strategy{Auto, SimOpen, LowTTLs, Listen, Reverse, Crafted, FakeSYN}

// ParseStrategy reads a strategy by its name.
func ParseStrategy(name string) (Strategy, error) {
	if s := Strategy(name); slices.Contains(Strategies, s) {
		return s, nil
	}
	return "", fmt.Errorf("there is no strategy %q", name)
}

// Crafts says that a strategy sends segments that the kernel does not make.
func (s Strategy) Crafts() bool { return s == Crafted || s == FakeSYN }

// Foretells says that a strategy goes on with volleys where ports move.
func (s Strategy) Foretells() bool { return s == Auto || s == SimOpen }

// Opening is what a crafted SYN says, for a peer that it does not reach.
type Opening struct {
	ISN     uint32 `json:"isn"`
	Window  uint16 `json:"window"`
	Options []byte `json:"options"` // as they stand in the segment
}

// maxOptions is the room for options in a TCP header (RFC 9293 section 3.1).
const maxOptions = 40

// Reasons why two peers have no strategy in common.
var (
	ErrStrategy   = errors.New("the two peers want different strategies: give both the same --strategy, or one of them auto")
	ErrCannot     = errors.New("a peer may not craft segments")
	ErrUnreached  = errors.New("neither side is known to let everybody in, so neither can be connected to")
	errNoStrategy = errors.New("the peer's offer names a strategy that this release does not know")
)

func (o Offer) strategy() Strategy {
	if o.Strategy == "" {
		return Auto
	}
	return o.Strategy
}

// settleStrategy finds the one that both sides carry out: the one that is
// named, if only one is.
func (s *Schedule) settleStrategy() error {
	a, b := s.low.Offer.strategy(), s.high.Offer.strategy()
	switch {
	case a == Auto:
		s.Strategy = b
	case b == Auto || a == b:
		s.Strategy = a
	default:
		return fmt.Errorf("%w: %s and %s", ErrStrategy, a, b)
	}
	if s.Strategy.Crafts() && !s.mayCraft() {
		return fmt.Errorf("%w, as %s needs", ErrCannot, s.Strategy)
	}
	return nil
}

// mayCraft says that both sides may.
func (s *Schedule) mayCraft() bool {
	return s.low.Offer.Opening != nil && s.high.Offer.Opening != nil
}

// Denied says that both sides' NATs were seen to refuse the SYN of a crossing.
func (s Schedule) Denied() bool { return denies(s.low.Offer) && denies(s.high.Offer) }

func denies(o Offer) bool {
	return slices.ContainsFunc(o.Candidates, func(c Candidate) bool {
		return c.Inbound != nil && c.Inbound.SimultaneousOpen != nil && !*c.Inbound.SimultaneousOpen
	})
}

// PeerOpening is what the SYN of the other party says; nil where that may not
// craft.
func (s Schedule) PeerOpening(key KeyID) *Opening {
	if key == s.low.Key {
		return s.high.Offer.Opening
	}
	return s.low.Offer.Opening
}

// Listens says whether the party with this key listens, in Reverse: the one
// that is known to be open, or else the one without a translator before it,
// which at least may be. Of two the one whose key sorts first does.
func (s *Schedule) Listens(key KeyID) bool { return s.listener == key }

// settleListener chooses the side that listens.
func (s *Schedule) settleListener() error {
	for _, p := range []Party{s.low, s.high} {
		if slices.ContainsFunc(p.Offer.Candidates, func(c Candidate) bool { return c.Behavior != nil && reachable(*c.Behavior) }) {
			s.listener = p.Key
			return nil
		}
	}
	return ErrUnreached
}

// reachable says that a SYN of anybody comes through, as far as is known. A host
// without a translator may stand behind a firewall that nobody has measured.
func reachable(b predict.Behavior) bool {
	untranslated := b.Translated != nil && !*b.Translated
	return b.Filtering == nat.FilterEndpointIndependent || untranslated && b.Filtering == nat.FilteringUnknown
}
