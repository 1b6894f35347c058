package rendezvous

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tcppunch/timing"
)

// CoordinatorSource is the name of the time source that both peers always
// share: the four-timestamp exchange over the coordinator's connection.
const CoordinatorSource = "coordinator"

// HostSYNs is how many SYNs a host address may cost each side: it was named by
// a stranger and lies inside this host's own network.
const HostSYNs = 2

// SpareSYNs is how many SYNs of the budget are kept for the spare port: one
// that opens the own NAT, one that goes to the peer, the retransmissions of
// both, and some retries in case the peer was late.
const SpareSYNs = 8

// Party is one peer as the schedule sees it.
type Party struct {
	Key   KeyID
	Offer Offer
}

// Terms are what the coordinator stamped for both peers alike, by its clock.
type Terms struct {
	Present time.Time // both peers were there
	Agreed  time.Time // both offers were there
}

// Pair is one local and one remote candidate that are to meet, seen from the
// peer that Schedule.For names.
type Pair struct {
	Local, Remote Candidate
	SYNs          int // the most SYNs each side may send for it
}

// Schedule is what both peers compute from the two offers.
type Schedule struct {
	At        time.Time      // the common instant, on the timescale that the peers share
	Sources   []string       // time servers that define that timescale; none where a peer has no synchronised clock
	Bound     *time.Duration // the two launches differ by no more than this, for certain; nil: unknown
	Uncertain *time.Duration // and by no more than this in 99 %; nil: unknown
	Client    KeyID          // takes the client's role in TLS and nominates the socket
	Budget    int            // SYNs a side
	Delay     time.Duration  // the longer round trip of both to the coordinator; 0: unknown
	MinTTL    bool           // both hosts can tell segments apart by their TTL
	Expected  *float64       // probability that the ports meet, as far as the offers tell; nil: unknown
	Volleys   bool           // no pair of ports is known: there are rounds of many SYNs, see Volley
	Knock     bool           // and before them a SYN to where a listener may be heard, see Schedule.KnockRound
	Strategy  Strategy       // that both sides carry out
	low, high Party
	listener  KeyID // in Reverse
	alignment timing.Alignment
	carry     time.Duration // from the coordinator's clock to the common timescale
	planned   int           // the pair of the volleys, among those of the low party
}

// Reasons why there can be no schedule.
var (
	ErrSameKey    = errors.New("both peers have the same key: each needs a --state directory or a name of its own")
	ErrPeerLate   = errors.New("the agreed instant had passed before both offers were there")
	ErrInfeasible = errors.New("no pair of addresses")
)

// Agree computes the schedule. It is symmetric: the order of the parties does
// not matter, so both peers arrive at the same one.
func Agree(a, b Party, terms Terms) (Schedule, error) {
	if a.Key == b.Key {
		return Schedule{}, ErrSameKey
	}
	if a.Offer.Transport.datagrams() != b.Offer.Transport.datagrams() {
		return Schedule{}, ErrTransport
	}
	low, high := a, b
	if low.Key > high.Key {
		low, high = high, low
	}
	s := Schedule{
		Client: low.Key,
		Budget: min(low.Offer.Budget, high.Offer.Budget),
		Delay:  coordinatorDelay(low.Offer, high.Offer),
		MinTTL: low.Offer.MinTTL && high.Offer.MinTTL,
		low:    low, high: high,
	}
	if err := s.settleStrategy(); err != nil {
		return Schedule{}, err
	}
	var aligned bool
	if s.alignment, aligned = timing.Align(measured(low.Offer), measured(high.Offer)); aligned {
		s.Sources = s.alignment.Used
	}
	pairs := s.For(low.Key)
	if len(pairs) == 0 {
		return Schedule{}, fmt.Errorf("%w: the peers share no address family that both can use, or the budget allows no SYN", ErrInfeasible)
	}
	if s.Strategy == Reverse {
		if err := s.settleListener(); err != nil {
			return Schedule{}, err
		}
	}
	s.foresee(pairs)
	err := s.settleInstant(terms)
	return s, err
}

// measured are an offer's offsets as package timing compares them.
func measured(o Offer) []timing.Offset {
	var list []timing.Offset
	for _, s := range o.Sources {
		list = append(list, timing.Offset{Name: s.Name, Offset: s.Offset, Bound: s.Bound, Delay: s.Delay, Uncertainty: s.Uncertainty})
	}
	return list
}

// settleInstant finds the common instant, and the bounds that hold then: until
// it comes, the two clocks may drift apart.
func (s *Schedule) settleInstant(terms Terms) (err error) {
	// Relative wishes count on the coordinator's clock. The low party's offsets
	// carry them over, so that both peers get the same number.
	if len(s.Sources) > 0 {
		s.carry = s.alignment.LowOffset - offsetOf(s.low.Offer.Sources, CoordinatorSource)
	}
	s.At, err = instant(s.low.Offer, s.high.Offer, terms, s.carry)
	if len(s.Sources) > 0 {
		apart := 2 * timing.Drift(s.At.Sub(terms.Agreed.Add(s.carry)))
		bound, uncertain := s.alignment.Bound+apart, s.alignment.Uncertainty+apart
		s.Bound, s.Uncertain = &bound, &uncertain
	}
	return err
}

// lead is how long both peers need between the coordinator's stamp and the
// instant: half a round trip for the offer to arrive, twice over for a path
// that is slower that time, and 100 ms to open sockets and the capture.
func lead(low, high Offer) time.Duration {
	return coordinatorDelay(low, high) + 100*time.Millisecond
}

func coordinatorDelay(low, high Offer) (delay time.Duration) {
	for _, s := range slices.Concat(low.Sources, high.Sources) {
		if s.Name == CoordinatorSource {
			delay = max(delay, s.Delay)
		}
	}
	return delay
}

// instant is the later of the two wishes. carry turns the coordinator's clock
// into the common timescale.
func instant(low, high Offer, terms Terms, carry time.Duration) (time.Time, error) {
	earliest := terms.Agreed.Add(carry + lead(low, high))
	at := later(wished(low.Wish, terms.Present.Add(carry)), wished(high.Wish, terms.Present.Add(carry)))
	if !at.Before(earliest) {
		return at, nil
	}
	if low.Wish.At != nil || high.Wish.At != nil {
		return time.Time{}, fmt.Errorf("%w: %s, and the offers were complete at %s", ErrPeerLate,
			at.UTC().Format(time.RFC3339Nano), terms.Agreed.UTC().Format(time.RFC3339Nano))
	}
	return earliest, nil
}

func wished(w Wish, present time.Time) time.Time {
	if w.At != nil {
		return *w.At
	}
	return present.Add(w.After)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func offsetOf(sources []SourceOffset, name string) time.Duration {
	for _, s := range sources {
		if s.Name == name {
			return s.Offset
		}
	}
	return 0
}

// For lists the pairs as the peer with this key sees them, in the order in
// which both peers launch them: on-link first, then IPv6, then IPv4, and the
// spare ports last.
func (s Schedule) For(key KeyID) []Pair {
	own, peer := s.low.Offer, s.high.Offer
	if key == s.high.Key {
		own, peer = peer, own
	}
	var pairs []Pair
	for _, local := range own.Candidates {
		for _, remote := range peer.Candidates {
			if local.Kind == remote.Kind && local.Spare == remote.Spare && local.Addr.Addr().Is4() == remote.Addr.Addr().Is4() {
				pairs = append(pairs, Pair{Local: local, Remote: remote})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b Pair) int { return cmp.Compare(rank(a), rank(b)) })
	return allot(pairs, s.Budget)
}

// allot divides the budget: host and spare pairs get their small shares, the
// others an equal part of the rest. What the budget does not stretch to is
// dropped, from the end: first the spare ports, which come into play last.
func allot(pairs []Pair, budget int) []Pair {
	for len(pairs) > 0 {
		fixed, others := 0, 0
		for i := range pairs {
			pairs[i].SYNs = share(pairs[i].Local)
			fixed += pairs[i].SYNs
			if pairs[i].SYNs == 0 {
				others++
			}
		}
		spare := pairs[len(pairs)-1].Local.Spare
		if each := (budget - fixed) / max(others, 1); fixed <= budget && (others == 0 || each >= 1) && (!spare || 2*fixed <= budget) {
			for i := range pairs {
				if pairs[i].SYNs == 0 {
					pairs[i].SYNs = each
				}
			}
			return pairs
		}
		pairs = pairs[:len(pairs)-1]
	}
	return nil
}

// share is the fixed part of the budget that a pair gets, or 0 where it gets
// what is left.
func share(c Candidate) int {
	switch {
	case c.Kind == Host:
		return HostSYNs
	case c.Spare:
		return SpareSYNs
	}
	return 0
}

func rank(p Pair) int {
	switch {
	case p.Local.Spare:
		return 3
	case p.Local.Kind == Host:
		return 0
	case p.Local.Addr.Addr().Is6():
		return 1
	}
	return 2
}

// Offset is the common timescale minus a party's own clock: it launches at At −
// Offset by its clock. It is 0 where the clocks are not synchronised.
func (s Schedule) Offset(key KeyID) time.Duration {
	if key == s.low.Key {
		return s.alignment.LowOffset
	}
	return s.alignment.HighOffset
}

// PeerClock estimates the other party's clock minus this party's own; nil where
// the clocks are not synchronised.
func (s Schedule) PeerClock(key KeyID) *time.Duration {
	if len(s.Sources) == 0 {
		return nil
	}
	difference := s.alignment.Difference()
	if key != s.low.Key {
		difference = -difference
	}
	return &difference
}

// Attest drops the server-reflexive pairs whose remote address the coordinator
// has not seen the peer at, or that the policy forbids. refused says why for
// each pair that was dropped.
func Attest(pairs []Pair, attested []netip.AddrPort, policy Policy) (allowed []Pair, refused []error) {
	for _, p := range pairs {
		if err := admit(p, attested, policy); err != nil {
			refused = append(refused, err)
			continue
		}
		allowed = append(allowed, p)
	}
	return allowed, refused
}

func admit(p Pair, attested []netip.AddrPort, policy Policy) error {
	addr := p.Remote.Addr.Addr()
	if p.Remote.Kind == Host {
		return policy.Host(addr)
	}
	seen := func(a netip.AddrPort) bool { return a.Addr().Unmap() == addr.Unmap() }
	if !slices.ContainsFunc(attested, seen) {
		return fmt.Errorf("the coordinator has not seen the peer at %s: not dialled", addr)
	}
	return policy.Reflexive(addr)
}
