package lab

import (
	"net/netip"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// What the tool asks before a meeting: each of the two ports of the punch at
// both servers, and where the NAT moves, further ports one by one, the last two
// shortly before the round (docs/protocol.md, Volleys).
const (
	firstPace  = 3 * time.Millisecond
	broadPace  = 40 * time.Millisecond
	broadFresh = 6
	lastFresh  = 2
)

// draws is over how many seeds of the emulators the expectation is the mean.
const draws = 5

// hitOf is how likely the ports of the two meet, by the plan's own probability.
// What the plan knows are the probes' answers, which package predict/nat gives
// without any network.
func hitOf(a, b Profile, t Terms) float64 {
	if !translated(a) && !translated(b) {
		return 1
	}
	sum := 0.0
	for seed := range uint64(draws) {
		x, errX := probe(a, 2*seed+1, "198.51.100.1", t)
		y, errY := probe(b, 2*seed+2, "203.0.113.1", t)
		if errX != nil || errY != nil {
			return 0
		}
		sum += meets(x, y, listens(a), listens(b), t.Budget)
	}
	return sum / draws
}

// meets follows the rounds of a meeting: a knock where it is worth two SYNs,
// then volleys until the budget is spent.
func meets(a, b predict.Party, admitsA, admitsB bool, budget int) float64 {
	plan := predict.NewPlan(a, b, budget)
	if plan.Method == predict.Direct {
		return plan.Probability
	}
	knocks := knockable(plan) && (plan.A.Fresh && admitsB || plan.B.Fresh && admitsA)
	switch {
	case knocks:
		return 1
	case plan.Probability < hopelessHit:
		return 0
	}
	if knockable(plan) {
		budget -= 2
	}
	miss := 1.0
	for round := 0; round < mostRounds && budget >= 2 && miss > negligible; round++ {
		if plan = frugal(a, b, budget); plan.Probability < hopelessHit {
			break
		}
		miss *= 1 - plan.Probability
		budget -= plan.A.SYNs + plan.B.SYNs
	}
	return 1 - miss
}

const (
	mostRounds = 8    // of volleys (punch.mostRounds)
	negligible = 1e-6 // below which no further round is worth to be looked at
)

// knockable says that one side's port is known and it costs much to do without
// asking whether its filter lets the other in (rendezvous.worthAKnock).
func knockable(p predict.Plan) bool {
	const dear, sure = 32, 0.9
	oneKnown := p.Method != predict.Listen && p.Method != predict.OnePoint && p.A.Fresh != p.B.Fresh
	return oneKnown && (p.A.SYNs+p.B.SYNs > dear || p.Probability < sure)
}

// frugal is the plan of one round: of a part of the budget, where that is nearly
// as good (rendezvous.frugal).
func frugal(a, b predict.Party, left int) predict.Plan {
	const nearly = 0.97
	full := predict.NewPlan(a, b, left)
	for n := 2; n <= left/2; n *= 2 {
		if p := predict.NewPlan(a, b, n); p.Probability >= nearly*full.Probability {
			return p
		}
	}
	return full
}

// listens says that whoever sends to a side's known port gets in, if only its
// address was sent to.
func listens(p Profile) bool {
	for _, b := range p.Boxes {
		if b.Behavior.Firewall || b.Behavior.Filtering != nat.FilterEndpointIndependent && b.Behavior.Filtering != nat.FilterAddressDependent {
			return false
		}
	}
	return true
}

// probe is what a side's probes will tell.
func probe(p Profile, seed uint64, outside string, t Terms) (predict.Party, error) {
	s, err := newSounding(p, seed, netip.MustParseAddr(outside))
	if err != nil {
		return predict.Party{}, err
	}
	main, spare := s.port(), s.port()
	for _, local := range []uint16{main, spare} {
		for i := range 2 {
			s.ask(local, i, firstPace)
		}
	}
	if moving(predict.Classify(s.of(main))) {
		for i := range broadFresh {
			s.ask(s.port(), i, broadPace)
		}
		s.now = s.now.Add(4 * t.Delay)
		for i := range lastFresh {
			s.ask(s.port(), i, firstPace)
		}
	} else {
		s.seen = s.of(main)
	}
	party := predict.Party{Behavior: predict.Classify(s.seen), Gap: 4*t.Delay + 120*time.Millisecond}
	if n := len(s.seen); n > 0 {
		party.Outside = s.seen[n-1].Reflexive
	}
	return party, nil
}

// moving says that a NAT's next ports must be foretold (punch.moves).
func moving(b predict.Behavior) bool {
	return b.Mapping.Dependent() && (len(b.Ports.Posterior) == 0 || b.Ports.Posterior[0].Model != nat.Preserving)
}

// sounding carries probes through the emulators of a profile.
type sounding struct {
	boxes []*nat.Translator
	now   time.Time
	local uint16
	host  netip.Addr
	seen  []predict.Observation
}

func newSounding(p Profile, seed uint64, outside netip.Addr) (*sounding, error) {
	s := &sounding{now: time.Unix(1_000_000_000, 0), local: uint16(33000 + 977*seed), host: outside}
	if !translated(p) {
		return s, nil
	}
	s.host = netip.MustParseAddr("192.168.1.2")
	for i, b := range p.Boxes {
		c := b.Behavior
		c.Seed = seed + uint64(i)<<32
		c.External = []netip.Addr{outside}
		for k := range max(c.PoolSize, 1) - 1 {
			c.External = append(c.External, netip.AddrFrom4([4]byte{100, 64, byte(i), byte(k + 1)}))
		}
		box, err := nat.NewTranslator(c)
		if err != nil {
			return nil, err
		}
		s.boxes = append(s.boxes, box)
	}
	return s, nil
}

// port is another local port, as odd or even as the first one.
func (s *sounding) port() uint16 {
	s.local += 2
	return s.local
}

// ask sends a SYN to one of the two servers, and then lets time pass.
func (s *sounding) ask(local uint16, server int, pace time.Duration) {
	defer func() { s.now = s.now.Add(pace) }()
	to := netip.AddrPortFrom([]netip.Addr{coordinator4, coordinatorAlt4}[server%2], uint16(3478+server%2))
	packet := nat.Packet{From: netip.AddrPortFrom(s.host, local), To: to, Flags: nat.SYN}
	for _, box := range s.boxes {
		a := box.Outbound(packet, s.now)
		if a.Verdict != nat.Forwarded {
			return
		}
		packet.From = a.Packet.From
	}
	s.seen = append(s.seen, predict.Observation{At: s.now, Local: netip.AddrPortFrom(s.host, local), Server: to, Reflexive: packet.From})
}

func (s *sounding) of(local uint16) []predict.Observation {
	var list []predict.Observation
	for _, o := range s.seen {
		if o.Local.Port() == local {
			list = append(list, o)
		}
	}
	return list
}
