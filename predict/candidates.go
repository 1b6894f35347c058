package predict

import (
	"net/netip"
	"slices"
)

// Candidates ranks the at most n likeliest places of a party's next mapping, as
// a new peer will see it. The probabilities are each candidate's own and sum to
// at most 1.
func Candidates(p Party, n int) []Candidate {
	if !p.Outside.IsValid() || n <= 0 {
		return nil
	}
	s := sideOf(p)
	if s.fixed {
		return []Candidate{{p.Outside, s.stays}}
	}
	var list []Candidate
	for _, x := range s.forecast.next(n) {
		list = append(list, Candidate{netip.AddrPortFrom(p.Outside.Addr(), x.Port), x.Probability})
	}
	return list
}

// next ranks the ports of the next mapping.
func (f *forecast) next(n int) []PortProbability {
	n = min(n, 1<<16)
	weight := map[uint16]float64{}
	for _, p := range f.parts {
		switch {
		case p.run != nil:
			for i, q := range p.run.first {
				weight[p.run.port(i)] += float64(float64(p.weight*q) / f.addresses)
			}
		case p.pool != nil:
			each := 0.0
			for _, w := range p.pool.widths {
				each += float64(w.Weight / float64(free(w.Ports, f.seen)))
			}
			each = float64(each * p.weight / f.addresses)
			for _, port := range p.pool.unseen(f.seen, max(n, 1)) {
				weight[port] += each
			}
		}
	}
	delete(weight, 0)
	list := make([]PortProbability, 0, len(weight))
	for port, q := range weight {
		if q > 1e-9 {
			list = append(list, PortProbability{port, q})
		}
	}
	slices.SortFunc(list, func(a, b PortProbability) int {
		if a.Probability != b.Probability {
			return compare(b.Probability, a.Probability)
		}
		return int(a.Port) - int(b.Port)
	})
	return list[:min(len(list), n)]
}

// Next ranks the at most n likeliest ports of a party's next mapping.
func Next(p Party, n int) []PortProbability {
	var list []PortProbability
	for _, c := range Candidates(p, n) {
		list = append(list, PortProbability{c.Addr.Port(), c.Probability})
	}
	return list
}
