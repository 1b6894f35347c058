package predict

// onePoint: hard × hard. All of a's SYNs go to one port of b and all of b's to
// one port of a. It hits if each point is among the other's mappings, so that
// the sides decouple: P = P_A · P_B. Σ P(X_i = x_j) P(Y_j = y_i) bounds every
// plan whose SYN i of a goes to y_i and whose SYN j of b goes to x_j; where
// ports are drawn this one attains it: m/N_A · k/N_B. Where both count, the
// m·k pairs of indices that any plan can cover are here a rectangle at the
// mode, which loses little against the likeliest m·k pairs.
func onePoint(a, b *side, budget int) Plan {
	if budget < 2 {
		return Plan{}
	}
	pa, pb := a.best(budget-1), b.best(budget-1)
	m, k, best := 0, 0, 0.0
	for i := 1; i < budget; i++ {
		if q := float64(pa[i].p * pb[budget-i].p); q > best {
			m, k, best = i, budget-i, q
		}
	}
	if best <= 0 {
		return Plan{}
	}
	m, k = spare(pa, pb, m, k)
	return Plan{
		Method:      OnePoint,
		A:           a.forecast.opens(m, pb[k].port),
		B:           b.forecast.opens(k, pa[m].port),
		Probability: float64(pa[m].p * pb[k].p),
	}
}

// spare leaves out SYNs that hardly help, from the side where they help least.
func spare(pa, pb []point, m, k int) (int, int) {
	floor := float64(float64(pa[m].p*pb[k].p) * enoughShare)
	for {
		fewerA, fewerB := 0.0, 0.0
		if m > 1 {
			fewerA = float64(pa[m-1].p * pb[k].p)
		}
		if k > 1 {
			fewerB = float64(pa[m].p * pb[k-1].p)
		}
		switch {
		case max(fewerA, fewerB) < floor || max(fewerA, fewerB) == 0:
			return m, k
		case fewerA >= fewerB:
			m--
		default:
			k--
		}
	}
}

// A point is a port, and the probability that it is among some mappings.
type point struct {
	port uint16
	p    float64
}

// best are the points for each number of mappings up to n, at least.
func (s *side) best(n int) []point {
	if len(s.points) <= n {
		s.points = s.forecast.points(n)
	}
	return s.points
}

// points lists the best point for each number of mappings up to n. What suits
// one part best is tried for the mixture.
func (f *forecast) points(n int) []point {
	list := make([]point, n+1)
	for _, p := range f.parts {
		switch {
		case p.run != nil:
			from, to := 0, 0
			for m := 1; m <= n; m++ {
				if m <= exactly {
					from, to = p.run.likeliest(m)
				} else {
					from, to = p.run.widen(from, to)
				}
				f.improve(&list[m], p.run.port(to), m)
			}
		case p.pool != nil:
			port := p.pool.middle(f.seen)
			for m := 1; m <= n; m++ {
				f.improve(&list[m], port, m)
			}
		}
	}
	return list
}

func (f *forecast) improve(best *point, port uint16, m int) {
	if port == 0 {
		return
	}
	if p := f.covers(port, m); p > best.p {
		*best = point{port, p}
	}
}

// covers is the probability that m mappings include a port.
func (f *forecast) covers(port uint16, m int) float64 {
	sum := 0.0
	for _, p := range f.parts {
		switch {
		case p.run != nil:
			if i, ok := p.run.index(port); ok {
				sum += float64(p.weight * p.run.mass(i-m+1, i) * p.run.thin / f.addresses)
			}
		case p.pool != nil && p.pool.surely(port):
			for _, w := range p.pool.widths {
				share := min(1, float64(m)/float64(float64(free(w.Ports, f.seen))*f.addresses))
				sum += float64(float64(p.weight*w.Weight) * share)
			}
		}
	}
	return sum
}

// surely reports whether a port is one of those drawn from.
func (p *pool) surely(port uint16) bool {
	return p.inner.low <= port && port <= p.inner.high && (port^p.inner.low)&uint16(p.step-1) == 0
}

// middle is the port nearest to the middle of the inner range that was not seen.
func (p *pool) middle(seen []uint16) uint16 {
	centre := (int(p.inner.low) + int(p.inner.high)) / 2
	for d := range 1 << 16 {
		for _, port := range [2]int{centre + d, centre - d} {
			if port < 1 || port > 65535 || !p.surely(uint16(port)) || contains(seen, uint16(port)) {
				continue
			}
			return uint16(port)
		}
		if d > p.inner.width() {
			break
		}
	}
	return p.inner.low // all that is known was seen
}

func contains(list []uint16, port uint16) bool {
	for _, p := range list {
		if p == port {
			return true
		}
	}
	return false
}

// exactly is up to where intervals of J are searched for; the longer ones grow.
// Batches of foreign mappings make two peaks, at none and at some.
const exactly = 192

// widen adds the likelier neighbour to an interval of values of J.
func (r *run) widen(from, to int) (int, int) {
	before, after := -1.0, -1.0
	if from > 0 {
		before = r.first[from-1]
	}
	if to+1 < len(r.first) {
		after = r.first[to+1]
	}
	switch {
	case before > after:
		return from - 1, to
	case after >= 0:
		return from, to + 1
	}
	return from, to
}
