package rendezvous

import (
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// A Volley is a round of many SYNs on sockets that are alive together, as both
// peers compute it.
type Volley struct {
	Round   int
	Name    string        // "knock", or the method of the plan
	At      time.Time     // the common instant of the round
	Plan    predict.Plan  // A is the party whose key sorts first
	Earnest KeyID         // in a LowTTL volley the party that sends each SYN once more, in earnest
	Gap     time.Duration // from the last observation of a side whose ports are foretold to the instant; 0 where there is none
}

// Knock is the name of the round in which a side whose ports nobody knows sends
// one SYN to the other one's known port, where that one listens.
const Knock = "knock"

// LowTTL is the name of a volley whose SYNs open the own NAT and die before the
// peer's. When all have left, one side repeats its own in earnest.
const LowTTL = "low-ttl"

// For is the part of the party with this key.
func (v Volley) For(s Schedule, key KeyID) predict.Side {
	if key == s.low.Key {
		return v.Plan.A
	}
	return v.Plan.B
}

// SYNs is what the round costs both sides together.
func (v Volley) SYNs() int {
	both := v.Plan.A.SYNs + v.Plan.B.SYNs
	if v.Earnest != "" {
		both += min(v.Plan.A.SYNs, v.Plan.B.SYNs)
	}
	return both
}

// SYNsOf is what it costs the party with this key.
func (v Volley) SYNsOf(s Schedule, key KeyID) int {
	n := v.For(s, key).SYNs
	if v.Earnest == key {
		n *= 2
	}
	return n
}

// foresee decides between single SYNs to known ports and volleys, and says how
// likely the ports meet. It plans volleys where both peers exchange forecasts
// and no pair of ports is known.
func (s *Schedule) foresee(pairs []Pair) {
	exchange := s.low.Offer.Forecast && s.high.Offer.Forecast && s.Strategy.Foretells()
	s.Volleys = exchange
	best := 0.0
	for i, p := range pairs {
		switch {
		case p.Local.Behavior == nil || p.Remote.Behavior == nil:
			best, s.Volleys = 1, false // needs no NAT to open a port
		case p.Local.Spare && exchange:
		case !exchange:
			best = max(best, predict.Hit(*p.Local.Behavior, *p.Remote.Behavior, 2)) // one SYN each, at the observed port
		default:
			plan, known := s.plan(p)
			if known {
				s.Volleys = false
			}
			if plan.Probability > best {
				best, s.planned = plan.Probability, i
			}
		}
	}
	s.Expected = &best
	if s.Volleys {
		s.Knock = s.worthAKnock(pairs[s.planned], best)
		if s.Knock {
			best = 1 - (1-best)*(1-knockHits)
		}
	}
}

// plan is that of a pair as far as the offers tell, and whether both ports are
// known: then each side sends its SYN, whatever the filters.
func (s *Schedule) plan(p Pair) (plan predict.Plan, known bool) {
	a, b := candidateParty(p.Local), candidateParty(p.Remote)
	strictA, strictB := a, b
	strictA.Behavior.Filtering, strictB.Behavior.Filtering = nat.FilteringUnknown, nat.FilteringUnknown
	if plan = predict.NewPlan(strictA, strictB, s.Budget); plan.Method == predict.Direct {
		return plan, true
	}
	return predict.NewPlan(a, b, s.Budget), false
}

func candidateParty(c Candidate) predict.Party {
	return predict.Party{Behavior: *c.Behavior, Outside: c.Addr}
}

// knockHits is how often an unknown filter lets any port of an address in that
// was sent to: 12 % of NATs ask for the address only, and 6 % for nothing. A
// host without a NAT often has no filter at all.
const knockHits = 0.18

// worthAKnock: the port of one side is known, nobody knows whether its filter
// would let the other's SYN in, and the plan that does without costs many
// times the two SYNs that it takes to find out, or promises little.
func (s *Schedule) worthAKnock(p Pair, probability float64) bool {
	const dear, sure = 32, 0.9
	if s.Budget < 2 {
		return false
	}
	plan := predict.NewPlan(candidateParty(p.Local), candidateParty(p.Remote), s.Budget)
	if plan.Method == predict.Listen || plan.Method == predict.OnePoint {
		return false
	}
	fixed := p.Local
	if plan.A.Fresh {
		fixed = p.Remote
	}
	return fixed.Behavior.Filtering == nat.FilteringUnknown && (plan.A.SYNs+plan.B.SYNs > dear || probability < sure)
}

// Planned is the pair of the volleys as the party with this key sees it.
func (s Schedule) Planned(key KeyID) Pair { return s.For(key)[s.planned] }

// KnockRound is the round before the volleys. It needs no forecast.
func (s Schedule) KnockRound() Volley {
	p := s.Planned(s.low.Key)
	full := predict.NewPlan(candidateParty(p.Local), candidateParty(p.Remote), s.Budget)
	one := func(c Candidate) predict.Side {
		return predict.Side{SYNs: 1, Addr: c.Addr.Addr(), Ports: []uint16{c.Addr.Port()}}
	}
	plan := predict.Plan{Method: predict.Listen, A: one(p.Remote), B: one(p.Local), Spacing: full.Spacing, Probability: knockHits}
	return Volley{Round: 1, Name: Knock, At: s.At, Plan: plan}
}

// Forecasts are the forecasts of both parties, and when the coordinator held
// them.
type Forecasts struct {
	Own, Peer Forecast
	At        time.Time
}

// VolleyRound plans a round from both forecasts. left is what both sides
// together may still send. It is symmetric, like Agree: own is the key of the
// party that made Forecasts.Own.
func (s Schedule) VolleyRound(own KeyID, f Forecasts, left int) Volley {
	low, high := f.Own, f.Peer
	if own != s.low.Key {
		low, high = high, low
	}
	v := Volley{Round: low.Round, At: later(s.At, f.At.Add(s.carry+volleyLead(s.Delay)))}
	a, b := low.party(v.At), high.party(v.At)
	v.Plan = frugal(a, b, left)
	v.Name = string(v.Plan.Method)
	once := left * 2 / 3 // since one side sends its part twice
	switch {
	case !s.Short():
	case low.Resets+high.Resets > 0:
		s.lower(&v, predict.NewPlan(a, b, once))
	case s.first(low.Round) && s.chancy() && s.resets():
		s.lower(&v, frugal(a, b, once))
	}
	if v.Plan.A.Fresh {
		v.Gap = a.Gap
	}
	if v.Plan.B.Fresh {
		v.Gap = max(v.Gap, b.Gap)
	}
	return v
}

func (f Forecast) party(at time.Time) predict.Party {
	return predict.Party{Behavior: f.Behavior, Outside: f.Outside, Gap: min(max(at.Sub(f.Seen), 0), longestGap)}
}

// Short: on a path as short as this the SYNs of two sides whose clocks are
// known only so far may not cross, and a NAT that answers with resets ends both.
func (s Schedule) Short() bool {
	const surely = 10 * time.Millisecond // there and back
	return s.Uncertain == nil || s.Delay < surely+4**s.Uncertain
}

// chancy: on a path as short as this a crossing is luck. The clocks are known
// only so far, and a volley takes about a millisecond to leave.
func (s Schedule) chancy() bool {
	const leaving = 500 * time.Microsecond
	return s.Uncertain == nil || s.Delay/2 < leaving+*s.Uncertain
}

// first says that no volley was before this round. Later ones go by what they
// have met: behind two NATs a SYN may die too soon.
func (s Schedule) first(round int) bool { return round == 1 || round == 2 && s.Knock }

// resets: a NAT of the planned pair ends an attempt whose SYN comes too early,
// as its offer says. A host without a NAT does so too, but no longer when its
// sockets are open.
func (s Schedule) resets() bool {
	p := s.Planned(s.low.Key)
	return p.Local.resets() || p.Remote.resets()
}

func (c Candidate) resets() bool {
	translated := c.Behavior != nil && c.Behavior.Translated != nil && *c.Behavior.Translated
	return translated && c.Inbound != nil && (c.Inbound.Unsolicited == nat.Reset || c.Inbound.Unsolicited == nat.Poison)
}

// lower makes a volley of low-ttl SYNs of a plan. The side with fewer of them
// repeats them.
func (s Schedule) lower(v *Volley, plan predict.Plan) {
	if plan.A.SYNs == 0 || plan.B.SYNs == 0 {
		return
	}
	v.Name, v.Plan, v.Earnest = LowTTL, plan, s.low.Key
	if plan.B.SYNs < plan.A.SYNs {
		v.Earnest = s.high.Key
	}
}

// longestGap bounds what a peer's time stamp can make this one compute.
const longestGap = time.Minute

// nearly is how much of the best probability is worth giving up.
const nearly = 0.97

// frugal spends half of the budget or less where that is nearly as good: the
// rest pays for another round, for what no plan foresees.
func frugal(a, b predict.Party, left int) predict.Plan {
	full := predict.NewPlan(a, b, left)
	for n := 2; n <= left/2; n *= 2 {
		if p := predict.NewPlan(a, b, n); p.Probability >= nearly*full.Probability {
			return p
		}
	}
	return full
}

// volleyLead is how long both peers need between the coordinator's stamp and a
// volley: for the forecast to arrive, and to open the sockets.
func volleyLead(delay time.Duration) time.Duration { return delay + 80*time.Millisecond }

// RefreshLead is how long before an instant the probes of a forecast must
// leave: two round trips for an answer over TCP, one to exchange the forecasts,
// and the lead.
func (s Schedule) RefreshLead() time.Duration {
	return 3*s.Delay + 40*time.Millisecond + volleyLead(s.Delay)
}
