package predict

import (
	"net/netip"
	"slices"

	"tcppunch/predict/nat"
)

// enough is how many new mappings it takes to name an allocator that does not
// preserve: two equal steps, or two different ones. Three uniform draws from
// 64512 ports make two equal steps with probability 1/64512.
const enough = 3

// assignPorts fills in the port assignment and its parameters.
func assignPorts(b *Behavior, obs []Observation) {
	if preserving(obs) {
		b.Ports = nat.Preserving
		return
	}
	ports := allocated(obs)
	if len(ports) < enough {
		return
	}
	if delta := step(ports); delta != 0 {
		b.Ports, b.Delta, b.Gaps = nat.Sequential, delta, len(ports)-1
		return
	}
	b.Ports = nat.Random
	b.Low, b.High = portRange(ports)
}

func preserving(obs []Observation) bool {
	for _, o := range obs {
		if o.Local.Port() == 0 || o.Local.Port() != o.Reflexive.Port() {
			return false
		}
	}
	return len(obs) > 0
}

// allocated lists the outside ports in the order in which the NAT chose them:
// a port counts once per local endpoint, when it first appears. A preserved
// one among others does not count, since it was not drawn.
func allocated(obs []Observation) []uint16 {
	type pair struct{ local, reflexive netip.AddrPort }
	seen := map[pair]bool{}
	var ports []uint16
	for _, o := range obs {
		p := pair{o.Local, o.Reflexive}
		if !seen[p] && o.Local.Port() != o.Reflexive.Port() {
			seen[p] = true
			ports = append(ports, o.Reflexive.Port())
		}
	}
	return ports
}

// step returns the constant difference between successive ports, or 0. It is
// taken modulo 2^16 into [-32768, 32767], so that it may wrap.
func step(ports []uint16) int {
	delta := int16(ports[1] - ports[0])
	for i := range len(ports) - 1 {
		if int16(ports[i+1]-ports[i]) != delta {
			return 0
		}
	}
	return int(delta)
}

// A span is a closed range of ports.
type span struct{ low, high uint16 }

func (s span) width() int { return int(s.high) - int(s.low) + 1 }

// customary are the ranges that known allocators draw from, narrowest first.
// n draws that all fall into a range of width N are (M/N)^n times likelier
// than from one of width M, so the narrowest that holds them is chosen.
var customary = []span{
	{50001, 65535}, // pf
	{49152, 65535}, // RFC 6335 section 6, dynamic ports
	{32768, 60999}, // Linux net.ipv4.ip_local_port_range
	{32768, 65535}, // libalias
	{1024, 65535},  // nf_nat, Azure; RFC 6056 section 3.2
	{1, 65535},
}

// widestBand is the largest port block known to be handed to one subscriber
// (Richter 2016: 512, at most 1 K, some 4 K).
const widestBand = 4096

// portRange estimates the range of a random allocator: a band around the
// ports if they lie close, else the narrowest customary range.
func portRange(ports []uint16) (low, high uint16) {
	seen := span{slices.Min(ports), slices.Max(ports)}
	if band := widen(seen, len(ports)); band.width() <= widestBand {
		return band.low, band.high
	}
	i := slices.IndexFunc(customary, func(s span) bool { return s.low <= seen.low && seen.high <= s.high })
	if i < 0 { // port 0, which no TCP endpoint has
		return 0, 65535
	}
	return customary[i].low, customary[i].high
}

// widen returns the band that n uniform draws spanning s come from, centred
// on them: the unbiased width is spread·(n+1)/(n−1), German tank problem.
func widen(s span, n int) span {
	spread := int(s.high) - int(s.low)
	extra := (spread*2/(n-1) + 1) / 2 // on each side
	return span{clamp(int(s.low) - extra), clamp(int(s.high) + extra)}
}

// clamp limits a number to valid ports.
func clamp(port int) uint16 {
	return uint16(min(max(port, 1), 65535))
}
