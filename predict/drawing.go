package predict

import (
	"math"
	"slices"

	"tcppunch/predict/nat"
)

// A span is a closed range of ports.
type span struct{ low, high uint16 }

func (s span) width() int { return int(s.high) - int(s.low) + 1 }

func (s span) holds(o span) bool { return s.low <= o.low && o.high <= s.high }

// customary are the ranges that known allocators draw from.
var customary = []span{
	{50001, 65535}, // pf
	{49152, 65535}, // RFC 6335 section 6, dynamic ports
	{32768, 60999}, // Linux net.ipv4.ip_local_port_range
	{32768, 65535}, // libalias
	{1024, 65535},  // nf_nat, Azure; RFC 6056 section 3.2
	{1, 65535},
}

// widestBand is the largest number of ports known to be handed to one subscriber
// (Richter 2016: blocks of 512, at most 1 K, some 4 K).
const widestBand = 4096

// customaryShare is how often a random allocator draws from a customary range.
const customaryShare = 0.7

// A uniform is the hypothesis that ports are drawn from a range.
type uniform struct {
	model    nat.PortAssignment
	evidence float64 // log probability of the observed ports
	likely   span
	widths   []Width
}

// drawing weighs the ways of drawing ports.
func drawing(list []draw) []uniform {
	seen := spanOf(list)
	n := len(list)
	found := []uniform{
		mixture(nat.Band, seen, edgeless(seen, n, 4, widestBand)),
		mixture(nat.Block, seen, blocks(seen, n)),
		mixture(nat.Random, seen, append(
			scaled(edgeless(seen, n, widestBand+1, 65535), 1-customaryShare),
			ranges(seen, n, customaryShare, 1)...)),
	}
	if parity(list) {
		found = append(found, mixture(nat.Parity, seen, ranges(seen, n, 1, 2)))
	}
	return found
}

func spanOf(list []draw) span {
	s := span{math.MaxUint16, 0}
	for _, d := range list {
		s.low, s.high = min(s.low, d.port), max(s.high, d.port)
	}
	return s
}

// parity reports whether every port is as odd or even as the inside one.
func parity(list []draw) bool {
	return !slices.ContainsFunc(list, func(d draw) bool { return d.local == 0 || (d.port^d.local)&1 != 0 })
}

// A weighed is one range, with the log of prior times likelihood.
type weighed struct {
	likely span
	ports  int // equally likely ones
	log    float64
}

// drawn is the log probability of n given different ports in order, out of N.
func drawn(ports, n int) float64 {
	top, _ := math.Lgamma(float64(ports) + 1)
	rest, _ := math.Lgamma(float64(ports-n) + 1)
	return rest - top
}

// edgeless weighs ranges of unknown edges: log-uniform in width, uniform in
// place. A width W leaves W−s of the D−W+1 places, where s is the distance
// from the lowest to the highest port seen.
func edgeless(seen span, n, narrowest, widest int) []weighed {
	const ratio = 1.02
	space := 65535 // ports
	distance := seen.width() - 1
	var list []weighed
	total := math.Log(float64(widest) / float64(narrowest))
	for w := float64(max(narrowest, seen.width(), n)); int(w) <= widest; w = max(w*ratio, w+1) {
		ports := int(w)
		share := math.Log(max(ratio, (w+1)/w)) / total
		places := float64(ports-distance) / float64(space-ports+1)
		list = append(list, weighed{around(seen, ports), ports, math.Log(share*places) + drawn(ports, n)})
	}
	return list
}

// around is the range of a width that is centred on what was seen.
func around(seen span, width int) span {
	extra := max(width-seen.width(), 0)
	low := min(max(int(seen.low)-extra/2, 1), max(65536-width, 1))
	return span{uint16(low), uint16(min(low+width-1, 65535))}
}

// blocks weighs aligned blocks: powers of two from 64 ports on, counted from
// port 0 or, as most NATs leave out the well-known ports, from 1024.
func blocks(seen span, n int) []weighed {
	var list []weighed
	for ports := 64; ports <= widestBand; ports *= 2 {
		first := int(seen.low) / ports * ports
		if int(seen.high) >= first+ports || ports < n {
			continue
		}
		prior := 1.0 / 7 / (65536 / float64(ports))
		list = append(list, weighed{span{uint16(max(first, 1)), uint16(first + ports - 1)}, ports, math.Log(prior) + drawn(ports, n)})
	}
	return list
}

// ranges weighs the customary ranges, of which only every step-th port is used.
func ranges(seen span, n int, share float64, step int) []weighed {
	var list []weighed
	for _, c := range customary {
		if c.holds(seen) {
			ports := c.width() / step
			list = append(list, weighed{c, ports, math.Log(share/float64(len(customary))) + drawn(ports, n)})
		}
	}
	return list
}

func scaled(list []weighed, share float64) []weighed {
	for i := range list {
		list[i].log += math.Log(share)
	}
	return list
}

// mixture sums the evidence, and describes the posterior of the number of
// ports by parts of equal weight.
func mixture(model nat.PortAssignment, seen span, list []weighed) uniform {
	if len(list) == 0 {
		return uniform{model: model, evidence: math.Inf(-1)}
	}
	logs := make([]float64, len(list))
	for i, w := range list {
		logs[i] = w.log
	}
	u := uniform{model: model, evidence: logSum(logs)}
	slices.SortFunc(list, func(a, b weighed) int { return a.ports - b.ports })
	u.widths = parts(list, u.evidence)
	best := slices.MaxFunc(list, func(a, b weighed) int { return compare(a.log, b.log) })
	u.likely = best.likely
	return u
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// parts divides a distribution over numbers of ports into a few parts. The
// chance to hit goes with 1/N, so that each part is its harmonic mean.
func parts(list []weighed, evidence float64) []Width {
	const most = 5
	var found []Width
	weight, inverse := 0.0, 0.0
	flush := func() {
		if weight > 0 {
			found = append(found, Width{max(int(math.Round(weight/inverse)), 1), weight})
		}
		weight, inverse = 0, 0
	}
	for _, w := range list {
		p := math.Exp(w.log - evidence)
		if weight > 0 && weight+p/2 > 1.0/most && len(found) < most-1 {
			flush()
		}
		weight += p
		inverse += p / float64(w.ports)
	}
	flush()
	return normalized(found)
}

func normalized(list []Width) []Width {
	list = slices.DeleteFunc(list, func(w Width) bool { return w.Weight < 1e-4 })
	sum := 0.0
	for _, w := range list {
		sum += w.Weight
	}
	for i := range list {
		list[i].Weight = round(list[i].Weight / sum)
	}
	return list
}
