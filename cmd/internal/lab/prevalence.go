package lab

// population is a kind of access, and how often its users stand behind which
// profile. The shares of a population add up to 1.
type population struct {
	name   string
	shares map[string]float64
}

// The published shares that the populations are made of.
const (
	// Mapping that depends on the destination, by kind of access: Richter et al.,
	// A Multi-perspective Analysis of Carrier-Grade NAT Deployment, IMC 2016.
	dependentHome     = 0.02
	dependentFixed    = 0.11
	dependentCellular = 0.40
	// Port choice of cellular carriers, same source; the rest preserve.
	cellularRandom     = 0.45
	cellularSequential = 0.26
	// Filtering of home routers, and the share that refuses the SYN of a crossing:
	// after Guha and Francis, Characterization and Measurement of TCP Traversal
	// through NATs and Firewalls, IMC 2005. Older than the rest, and of routers of
	// that time.
	filterIndependent = 0.06
	filterAddress     = 0.12
	refuseCrossing    = 0.14
)

// populations share what the sources leave open equally among the profiles that
// fit.
func populations() []population {
	steady := (1 - dependentHome) * (1 - refuseCrossing)
	endpoint := steady * (1 - filterIndependent - filterAddress) / 4
	home := population{"home routers", map[string]float64{
		"home-sequential":    dependentHome,
		"dual-open-denied":   (1 - dependentHome) * refuseCrossing,
		"full-cone":          steady * filterIndependent,
		"address-restricted": steady * filterAddress,
		"port-restricted":    endpoint, "linux": endpoint, "openwrt": endpoint, "linux-accept": endpoint,
	}}
	fixed := population{"fixed-line carriers", map[string]float64{
		"cgn-block-512": dependentFixed, "cgn-eim-block": 1 - dependentFixed,
	}}
	cellular := population{"cellular carriers", map[string]float64{
		"cgn-eim-block":       1 - dependentCellular,
		"cellular-band-251":   dependentCellular * cellularRandom / 2,
		"symmetric":           dependentCellular * cellularRandom / 2,
		"cellular-sequential": dependentCellular * cellularSequential,
		"cisco-ios":           dependentCellular * (1 - cellularRandom - cellularSequential),
	}}
	return []population{home, fixed, cellular, mixture("all three alike", home, fixed, cellular)}
}

// mixture is a population of which each part has an equal share. How many users
// each kind of access has is not part of the sources.
func mixture(name string, parts ...population) population {
	p := population{name, map[string]float64{}}
	for _, part := range parts {
		for profile, share := range part.shares {
			p.shares[profile] += share / float64(len(parts))
		}
	}
	return p
}

// weigh computes the success of each population from the cells that there are.
// The interval is Wilson's for as many trials as have the variance of the
// weighted mean (Kish 1965, effective sample size).
func (m *Matrix) weigh() []Weighted {
	var all []Weighted
	for _, p := range populations() {
		w := Weighted{Population: p.name, CI95: [2]float64{0, 1}}
		var sum, squares float64
		for _, c := range m.Cells {
			share := p.shares[c.A] * p.shares[c.B]
			if c.A != c.B {
				share *= 2
			}
			if share == 0 || c.Summary.Valid == 0 {
				continue
			}
			w.Covered += share
			sum += share * *c.Summary.Success
			squares += share * share / float64(c.Summary.Valid)
		}
		if w.Covered > 0 {
			success, n := sum/w.Covered, w.Covered*w.Covered/squares
			w.Success, w.CI95 = &success, wilsonAt(success*n, n, z95)
		}
		all = append(all, w)
	}
	return all
}
