package predict

import (
	"net/netip"
	"slices"

	"tcppunch/predict/nat"
)

// Classify deduces a behaviour from observations made from one or more local
// ports. Only observations of one local endpoint are compared with each
// other; of two at the same server the later counts, since a mapping may have
// expired in between.
func Classify(obs []Observation) Behavior {
	obs = normalize(obs)
	b := Behavior{
		Translated:      translated(obs),
		Mapping:         mapping(obs),
		PooledAddresses: pooled(obs),
	}
	if b.Translated != nil && !*b.Translated {
		// What is not translated looks the same from everywhere.
		b.Mapping, b.Ports = nat.EndpointIndependent, Ports{Model: nat.Preserving, Posterior: []Model{{Model: nat.Preserving, Probability: 1}}}
		return b
	}
	b.Ports = infer(newMappings(obs))
	return b
}

// normalize returns the usable observations in order of time, with IPv4
// addresses in IPv4 form.
func normalize(obs []Observation) []Observation {
	usable := make([]Observation, 0, len(obs))
	for _, o := range obs {
		o.Local, o.Server, o.Reflexive = unmap(o.Local), unmap(o.Server), unmap(o.Reflexive)
		if o.Reflexive.IsValid() {
			usable = append(usable, o)
		}
	}
	slices.SortStableFunc(usable, func(x, y Observation) int { return x.At.Compare(y.At) })
	return usable
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// translated compares outside with inside. A local endpoint whose address is
// not known (wildcard) shows a translation only by its port.
func translated(obs []Observation) *bool {
	var same bool
	for _, o := range obs {
		known := o.Local.IsValid() && !o.Local.Addr().IsUnspecified()
		switch {
		case !o.Local.IsValid():
		case o.Local.Port() != o.Reflexive.Port(), known && o.Local != o.Reflexive:
			return new(true)
		case known:
			same = true
		}
	}
	if same {
		return new(false)
	}
	return nil
}

// agreement collects what pairs of observations from one local endpoint say.
type agreement struct {
	portSame, portDiffers bool // servers that differ only in the port
	addrSame, addrDiffers bool // servers that differ in the address
}

func (g *agreement) add(x, y Observation) {
	same := x.Reflexive == y.Reflexive
	if x.Server.Addr() == y.Server.Addr() {
		g.portSame = g.portSame || same
		g.portDiffers = g.portDiffers || !same
		return
	}
	g.addrSame = g.addrSame || same
	g.addrDiffers = g.addrDiffers || !same
}

// mapping applies the definitions of RFC 4787 section 4.1. The strongest
// dependence seen on any local port wins.
func mapping(obs []Observation) nat.Mapping {
	var seen agreement
	obs = latest(obs)
	for i, x := range obs {
		for _, y := range obs[i+1:] {
			if x.Local == y.Local && x.Reflexive.Addr().Is4() == y.Reflexive.Addr().Is4() {
				seen.add(x, y)
			}
		}
	}
	switch {
	case seen.portDiffers:
		return nat.AddressAndPortDependent
	case seen.addrDiffers && seen.portSame:
		return nat.AddressDependent
	case seen.addrDiffers:
		return nat.AddressOrPort
	case seen.addrSame:
		return nat.EndpointIndependent
	case seen.portSame:
		return nat.EndpointOrAddress
	}
	return nat.MappingUnknown
}

// latest keeps the last observation of each pair of local and server endpoint.
func latest(obs []Observation) []Observation {
	type pair struct{ local, server netip.AddrPort }
	seen := map[pair]bool{}
	var kept []Observation
	for _, o := range slices.Backward(obs) {
		p := pair{o.Local, o.Server}
		if o.Server.IsValid() && !seen[p] {
			seen[p] = true
			kept = append(kept, o)
		}
	}
	return kept
}

// pooled counts outside addresses of the family that was seen last.
func pooled(obs []Observation) int {
	addrs := map[netip.Addr]bool{}
	for _, o := range obs {
		if o.Reflexive.Addr().Is4() == obs[len(obs)-1].Reflexive.Addr().Is4() {
			addrs[o.Reflexive.Addr()] = true
		}
	}
	return len(addrs)
}
