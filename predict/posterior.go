package predict

import (
	"math"
	"net/netip"
	"slices"

	"tcppunch/predict/nat"
)

// priors are the shares of the ways to assign ports among NATs whose mapping
// depends on the endpoint. Richter 2016 gives random 45 %, sequential 26 % and
// preserving for the rest of carriers' NATs in mobile networks, and blocks for
// some; how the random ones divide is a guess.
var priors = map[nat.PortAssignment]float64{
	nat.Preserving: 0.22,
	nat.Sequential: 0.28,
	nat.Lowest:     0.02,
	nat.Random:     0.23,
	nat.Band:       0.11,
	nat.Block:      0.11,
	nat.Parity:     0.03,
}

// newMappings lists the mappings in the order in which they were made: an
// outside endpoint counts once per local one, when it first appears, and only
// those of the address family that was seen last.
func newMappings(obs []Observation) []draw {
	type pair struct{ local, reflexive netip.AddrPort }
	seen := map[pair]bool{}
	var list []draw
	for _, o := range obs {
		p := pair{o.Local, o.Reflexive}
		if seen[p] || o.Reflexive.Port() == 0 || o.Reflexive.Addr().Is4() != obs[len(obs)-1].Reflexive.Addr().Is4() {
			continue
		}
		seen[p] = true
		list = append(list, draw{o.At, o.Reflexive.Port(), o.Local.Port()})
	}
	return list[max(0, len(list)-mostDraws):]
}

// mostDraws bounds the work; more would hardly tell more.
const mostDraws = 64

// infer is the posterior over the ways of assigning ports.
func infer(list []draw) Ports {
	if len(list) == 0 {
		return Ports{}
	}
	made := list
	kept := preserved(list)
	if again := afterClash(list); again != nil {
		list, kept = again, math.Inf(-1)
	}
	models := []Model{{Model: nat.Preserving, Probability: kept}}
	for _, c := range counting(list) {
		models = append(models, Model{c.model, c.evidence, Parameters{Delta: c.delta, Traffic: c.traffic}})
	}
	for _, u := range drawing(list) {
		models = append(models, Model{u.model, u.evidence, Parameters{Low: u.likely.low, High: u.likely.high, Widths: u.widths}})
	}
	p := Ports{Posterior: weighted(models)}
	if first := p.Posterior[0]; counts(first.Model) {
		made = inOrder(made, first.Parameters.Delta)
	}
	p.Seen = seenPorts(made)
	if len(list) >= enough || p.Posterior[0].Model == nat.Preserving {
		p.Model = p.likeliest()
	}
	p.share()
	return p
}

// enough is how many new mappings it takes to name an allocator that does not
// preserve.
const enough = 3

// share moves the parameters of the first model to where all find them. The
// lowest free ports and sequential ones by one have the same.
func (p *Ports) share() {
	first := p.Posterior[0]
	p.Parameters = first.Parameters
	for i, m := range p.Posterior {
		if i == 0 || counts(m.Model) && counts(first.Model) && m.Parameters.Delta == first.Parameters.Delta {
			p.Posterior[i].Parameters = Parameters{}
		}
	}
}

// weighted turns log evidence into probabilities, the highest first, and drops
// what is not worth planning for.
func weighted(models []Model) []Model {
	logs := make([]float64, len(models))
	for i, m := range models {
		logs[i] = m.Probability + math.Log(priors[m.Model])
	}
	total := logSum(logs)
	for i := range models {
		models[i].Probability = round(math.Exp(logs[i] - total))
	}
	slices.SortStableFunc(models, func(a, b Model) int { return -compare(a.Probability, b.Probability) })
	const negligible = 1e-3
	models = slices.DeleteFunc(models, func(m Model) bool { return m.Probability < negligible })
	models = models[:min(len(models), maxModels)]
	sum := 0.0
	for _, m := range models {
		sum += m.Probability
	}
	for i := range models {
		models[i].Probability = min(1, math.Round(models[i].Probability/sum*1e4)/1e4)
	}
	return models
}

// likeliest names the model if its kind is likely: bands and blocks are one
// kind, since a subscriber cannot tell them apart; so are sequential ports and
// the lowest free ones while none becomes free.
func (p Ports) likeliest() nat.PortAssignment {
	const likely = 0.8
	if len(p.Posterior) == 0 {
		return nat.PortsUnknown
	}
	first, sum := p.Posterior[0].Model, 0.0
	for _, m := range p.Posterior {
		if m.Model == first || counts(m.Model) && counts(first) || narrow(m.Model) && narrow(first) {
			sum += m.Probability
		}
	}
	if sum < likely {
		return nat.PortsUnknown
	}
	return first
}

func narrow(p nat.PortAssignment) bool { return p == nat.Band || p == nat.Block }

// Where an inside port is kept, foreign mappings may hold it already. The share
// of such clashes has a Beta prior: half a clash in some thirty.
const clashes, noClashes = 0.5, 30

// preserved is the log evidence of a NAT that keeps inside ports, and draws
// from all user ports on a clash.
func preserved(list []draw) float64 {
	kept := 0
	for _, d := range list {
		if d.port == d.local {
			kept++
		}
	}
	lost := float64(len(list) - kept)
	return logBeta(clashes+lost, noClashes+float64(kept)) - logBeta(clashes, noClashes) - lost*math.Log(64512)
}

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

// afterClash recognises a NAT that keeps an inside port once, and gives another
// one to each further destination, since the first mapping holds it. It
// returns the mappings that did not keep it, or nil.
func afterClash(list []draw) []draw {
	used := map[uint16]bool{}
	var drawn []draw
	for _, d := range list {
		if used[d.local] == (d.port == d.local) {
			return nil
		}
		if used[d.local] {
			drawn = append(drawn, d)
		}
		used[d.local] = true
	}
	return drawn
}

// seenPorts are the ports of the latest mappings.
func seenPorts(list []draw) []uint16 {
	var ports []uint16
	for _, d := range list[max(0, len(list)-maxSeen):] {
		ports = append(ports, d.port)
	}
	return ports
}
