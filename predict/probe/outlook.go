package probe

import (
	"fmt"
	"net/netip"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// Prospect is what a probed host can expect of a peer behind one kind of NAT.
type Prospect struct {
	Peer        string   `json:"peer"`        // the kind, in a few words
	Outlook     Outlook  `json:"outlook"`     //
	Probability *float64 `json:"probability"` // within the budget; null: unknown
	SYNs        int      `json:"syns"`        // that the plan for it spends, both sides' together
	Sentence    string   `json:"sentence"`
}

// Outlook is one word for a Prospect.
type Outlook string

// The outlooks.
const (
	Will    Outlook = "will"     // nothing but a clash of ports or a lost packet can prevent it
	May     Outlook = "may"      // with the probability
	WillNot Outlook = "will-not" // within any reasonable budget
)

const (
	surely   = 0.99
	hopeless = 0.01 // the share below which a meeting sends no SYN
	// largestBudget is more SYNs than anybody should ask a network to carry.
	largestBudget = 1000
	// launchGap is a usual time from the last observation to the launch.
	launchGap = 300 * time.Millisecond
)

// peer is one kind of NAT, as its own probe would describe it.
type peer struct {
	name     string
	behavior predict.Behavior
	crossing bool // lets the SYN of a crossing in
}

// Outlooks plans a meeting with each kind of peer NAT (package predict) within
// a budget of SYNs, both sides' together.
func Outlooks(r Report, budget int) []Prospect {
	var list []Prospect
	for _, p := range peers() {
		list = append(list, outlook(r, p, budget))
	}
	return list
}

func outlook(r Report, p peer, budget int) Prospect {
	if r.SimultaneousOpen != nil && !*r.SimultaneousOpen && !p.crossing {
		return Prospect{Peer: p.name, Outlook: WillNot, Probability: new(0.0),
			Sentence: "will not connect to " + p.name + ": both sides refuse the SYN of a crossing, so that neither is let in"}
	}
	if len(r.Observations) == 0 {
		return Prospect{Peer: p.name, Outlook: May, Sentence: "may connect to " + p.name + ": nothing is known of this side's NAT"}
	}
	us := predict.Party{Behavior: r.Behavior(), Outside: r.Reflexive, Gap: launchGap}
	plan := predict.NewPlan(us, p.party(), budget)
	d := Prospect{Peer: p.name, Outlook: May, Probability: new(plan.Probability), SYNs: plan.A.SYNs + plan.B.SYNs}
	switch {
	case plan.Probability >= surely:
		d.Outlook = Will
		d.Sentence = fmt.Sprintf("will connect to %s, with %s", p.name, syns(d.SYNs))
	case plan.Probability >= hopeless:
		d.Sentence = fmt.Sprintf("may connect to %s: %.0f %% with %s%s", p.name, 100*plan.Probability, syns(d.SYNs), enough(us, p.party(), budget))
	default:
		d = desperate(d, us, p)
	}
	return d
}

// desperate looks whether any budget helps.
func desperate(d Prospect, us predict.Party, p peer) Prospect {
	most := predict.NewPlan(us, p.party(), largestBudget)
	if most.Probability < hopeless {
		d.Outlook, d.SYNs = WillNot, 0
		d.Sentence = fmt.Sprintf("will not connect to %s: %.1g %% even with %s; only a relay helps", p.name, 100*most.Probability, syns(largestBudget))
		return d
	}
	d.Sentence = fmt.Sprintf("may connect to %s, but only with a larger budget: %.0f %% with %s", p.name, 100*most.Probability, syns(most.A.SYNs+most.B.SYNs))
	return d
}

// enough says which budget brings 95 %.
func enough(a, b predict.Party, budget int) string {
	for n := budget; n <= largestBudget; n += budget {
		if plan := predict.NewPlan(a, b, n); plan.Probability >= 0.95 {
			return fmt.Sprintf("; 95 %% takes a budget of %d", n)
		}
	}
	return ""
}

func syns(n int) string {
	if n == 1 {
		return "1 SYN"
	}
	return fmt.Sprintf("%d SYNs", n)
}

func (p peer) party() predict.Party {
	return predict.Party{Behavior: p.behavior, Gap: launchGap, Outside: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), 40000)}
}

// peers are the kinds, the easiest first. What their probes would have seen is
// made up from package nat's descriptions; the traffic is a household's and a
// carrier's.
func peers() []peer {
	kept := predict.Ports{Model: nat.Preserving, Posterior: []predict.Model{{Model: nat.Preserving, Probability: 1}}}
	open := predict.Behavior{Translated: new(false), Mapping: nat.EndpointIndependent, Filtering: nat.FilterEndpointIndependent, Ports: kept, PooledAddresses: 1}
	home := predict.Behavior{Translated: new(true), Mapping: nat.EndpointIndependent, Filtering: nat.FilterAddressAndPortDependent, Ports: kept, PooledAddresses: 1}
	return []peer{
		{"a public host, or one behind a NAT that is open to everybody", open, true},
		{"a host behind a home router that maps independently of the destination", home, true},
		{"such a host whose router refuses the SYN of a crossing", home, false},
		{"a host behind a NAT that counts ports, in a household", hard(counted(1)), true},
		{"a host behind a NAT that counts ports, at a carrier with 50 connections a second", hard(counted(50)), true},
		{"a host behind a carrier's NAT with random ports in a block of 512", hard(drawn(nat.Block, 512)), true},
		{"a host behind a NAT with random ports of 64,512", hard(drawn(nat.Random, 64512)), true},
	}
}

func hard(p predict.Ports) predict.Behavior {
	return predict.Behavior{Translated: new(true), Mapping: nat.AddressAndPortDependent, Filtering: nat.FilterAddressAndPortDependent, Ports: p, PooledAddresses: 1}
}

func counted(rate float64) predict.Ports {
	p := predict.Parameters{Delta: 1, Traffic: []predict.Traffic{{Rate: rate, Ratio: 1.2, Dispersion: 1, Weight: 1}}}
	return predict.Ports{Model: nat.Sequential, Parameters: p, Posterior: []predict.Model{{Model: nat.Sequential, Probability: 1}}, Seen: []uint16{40000}}
}

func drawn(model nat.PortAssignment, width int) predict.Ports {
	p := predict.Parameters{Low: 1024, High: uint16(1023 + width), Widths: []predict.Width{{Ports: width, Weight: 1}}}
	return predict.Ports{Model: model, Parameters: p, Posterior: []predict.Model{{Model: model, Probability: 1}}, Seen: []uint16{1024, uint16(1023 + width)}}
}
