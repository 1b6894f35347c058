package predict

import (
	"math"
	"net/netip"

	"tcppunch/predict/nat"
)

// Shares of NATs whose mapping depends on the endpoint (Richter 2016), used
// where the observations could not decide.
const (
	dependentAtHome  = 0.02 // upper bound; among those whose mapping ignores the port
	dependentCarrier = 0.11 // fixed-line carrier NAT; when nothing was compared
)

// Candidates ranks the at most n likeliest places of the next mapping of the
// host that made obs, as a new peer will see it. The probabilities are each
// candidate's own and sum to at most 1. The last observation is the base, so
// obs must end with one from the local port that will punch.
func Candidates(b Behavior, obs []Observation, n int) []Candidate {
	obs = normalize(obs)
	if len(obs) == 0 || n <= 0 {
		return nil
	}
	last := obs[len(obs)-1].Reflexive
	switch predictable(b) {
	case fixedPort:
		return []Candidate{{last, stays(b)}}
	case nextPorts:
		return following(b, last, n)
	}
	return spread(b, last, n)
}

// A kind is how a side's peer-facing port can be foretold.
type kind uint8

const (
	anyPort   kind = iota // uniform over a range
	fixedPort             // the port that servers see
	nextPorts             // a constant step from the last one
)

// predictable maps a behaviour to the kind of prediction it allows. Only a
// mapping known to depend on the endpoint is hard, since few do; and one that
// preserves the inside port even so shows that port to everybody.
func predictable(b Behavior) kind {
	switch {
	case !b.Mapping.Dependent(), b.Ports == nat.Preserving:
		return fixedPort
	case b.Ports == nat.Sequential:
		return nextPorts
	}
	return anyPort
}

// stays is the probability that the peer sees the port that servers saw.
func stays(b Behavior) float64 {
	switch {
	case b.Mapping == nat.EndpointIndependent:
		return 1
	case b.Ports == nat.Preserving:
		return (1 - dependentAtHome) / float64(addresses(b))
	case b.Mapping == nat.EndpointOrAddress:
		return 1 - dependentAtHome
	}
	return 1 - dependentCarrier
}

// following lists the next ports of a sequential allocator. Candidate i is
// right if i foreign mappings came in between.
func following(b Behavior, last netip.AddrPort, n int) []Candidate {
	const negligible = 1e-9
	var list []Candidate
	port := last.Port()
	for i := range n {
		p := foreign(b, i) / float64(addresses(b))
		port += uint16(b.Delta) // wraps as the NAT's 16 bits do
		if port == last.Port() || p < negligible {
			break
		}
		if port != 0 {
			list = append(list, Candidate{netip.AddrPortFrom(last.Addr(), port), p})
		}
	}
	return list
}

// foreign is the probability that exactly j foreign mappings come between the
// last observation and the next mapping, if that takes as long as one step
// between observations did. Foreign mappings are Poisson with a rate known
// only from Gaps undisturbed steps; with Jeffreys' prior the rate is
// Gamma(½, Gaps), and the prediction negative binomial:
//
//	P(j) = Γ(j+½) / (Γ(½) j!) · (g/(g+1))^½ · (1/(g+1))^j
func foreign(b Behavior, j int) float64 {
	g := float64(max(b.Gaps, 1))
	top, _ := math.Lgamma(float64(j) + 0.5)
	half, _ := math.Lgamma(0.5)
	factorial, _ := math.Lgamma(float64(j) + 1)
	return math.Exp(top - half - factorial + 0.5*math.Log(g/(g+1)) - float64(j)*math.Log(g+1))
}

// foreignAtMost is the probability of at most j foreign mappings.
func foreignAtMost(b Behavior, j int) float64 {
	sum := 0.0
	for i := range j + 1 {
		p := foreign(b, i)
		sum += p
		if p < 1e-12 {
			break
		}
	}
	return min(sum, 1)
}

// spread lists n ports at equal distances over the range of a random
// allocator. Any n distinct ports are as good; these do not cluster.
func spread(b Behavior, last netip.AddrPort, n int) []Candidate {
	s := randomRange(b)
	n = min(n, s.width())
	list := make([]Candidate, n)
	for i := range list {
		port := s.low + uint16(i*s.width()/n)
		list[i] = Candidate{netip.AddrPortFrom(last.Addr(), port), 1 / float64(choices(b))}
	}
	return list
}

// randomRange is where a random allocator draws from; all user ports when
// that is not known.
func randomRange(b Behavior) span {
	if b.High == 0 || b.Low > b.High {
		return span{1024, 65535}
	}
	return span{max(b.Low, 1), b.High}
}

// choices is the number of equally likely outside endpoints.
func choices(b Behavior) int {
	return randomRange(b).width() * addresses(b)
}

// addresses is the number of equally likely outside addresses (arbitrary
// pooling draws anew), bounded because behaviours also come from peers.
func addresses(b Behavior) int {
	const largest = 1024
	return min(max(b.PooledAddresses, 1), largest)
}
