package predict

import "slices"

// sweep plans for a hard side whose filter and whose peer's filter compare
// ports: the hard side opens m mappings, all towards the fixed port; the fixed
// side tries k ports at which one of them may be. Which ports those are, and
// how the budget is best divided, depends on the models; the best compromise
// for their mixture is taken.
func sweep(hard, fixed *side, budget int) Plan {
	f := &hard.forecast
	best := Plan{}
	chosen := 0.0
	for i := range f.parts {
		m, ports, method := f.tries(i, budget)
		if len(ports) == 0 || m == 0 {
			continue
		}
		if q := f.hits(m, ports); q > chosen {
			chosen = q
			best = Plan{Method: method, A: f.opens(m, fixed.outside.Port()), B: Side{SYNs: len(ports), Ports: ports}}
		}
	}
	best.Probability = float64(fixed.stays * chosen)
	return best
}

// opens is the part of a side that makes n mappings towards one port.
func (f *forecast) opens(n int, to uint16) Side {
	s := Side{SYNs: n, Fresh: true, Ports: []uint16{to}}
	for _, p := range f.parts {
		if p.pool != nil && p.pool.step == 2 && len(f.seen) > 0 {
			s.Odd = new(f.seen[0]&1 == 1)
		}
	}
	return s
}

// tries are the mappings and the ports to try that suit one part best.
func (f *forecast) tries(i, budget int) (m int, ports []uint16, method Method) {
	p := f.parts[i]
	switch {
	case p.run != nil:
		m, ports = p.run.comb(budget)
		return m, ports, Comb
	case p.pool != nil:
		m, ports = f.birthday(p.pool, budget)
		return m, ports, Birthday
	}
	return 0, nil, Hopeless
}

// hits is the probability that m mappings and some ports have one in common.
func (f *forecast) hits(m int, ports []uint16) float64 {
	sum := 0.0
	for _, p := range f.parts {
		switch {
		case p.run != nil:
			sum += float64(p.weight * p.run.covered(m, ports) / f.addresses)
		case p.pool != nil:
			sum += float64(p.weight * f.drawnAmong(p.pool, m, ports))
		}
	}
	return sum
}

// comb: m mappings that follow one another and k ports at every m-th index
// meet if J is one of m·k successive numbers, which are the likeliest ones.
// m = k = n/2 makes the most of them. Fewer do where they are all that counts.
func (r *run) comb(budget int) (m int, ports []uint16) {
	m = budget / 2
	k := budget - m
	if m == 0 {
		return 0, nil
	}
	from, to := r.likeliest(m * k)
	for m+k > 2 && r.mass(from, to)*enoughShare <= r.best((m/2)*(k/2)) {
		m, k = m/2, k/2
	}
	if m == 0 || k == 0 {
		m, k = 1, 1
	}
	for m+k > 2 {
		next, other := m, k
		if m > k {
			next--
		} else {
			other--
		}
		if r.best(next*other) < enoughShare*r.mass(from, to) {
			break
		}
		m, k = next, other
	}
	from, _ = r.likeliest(m * k)
	for i := range k {
		if port := r.port(from + m - 1 + i*m); port != 0 {
			ports = append(ports, port)
		}
	}
	return m, ports
}

// best is the probability of the likeliest successive values of J.
func (r *run) best(width int) float64 {
	from, to := r.likeliest(width)
	return r.mass(from, to)
}

// likeliest are width successive values of J that are about the likeliest.
func (r *run) likeliest(width int) (from, to int) {
	width = min(width, len(r.first))
	best, ends := -1.0, r.sums[width:]
	for i, start := range r.sums[:len(ends)] {
		if p := ends[i] - start; p > best {
			best, from = p, i
		}
	}
	return from, from + width - 1
}

// covered is the probability that one of m mappings has one of the ports: J is
// in the union of the intervals of m indices that end at them.
func (r *run) covered(m int, ports []uint16) float64 {
	ends := make([]int, 0, len(ports))
	for _, port := range ports {
		if i, ok := r.index(port); ok && i-m < len(r.first) {
			ends = append(ends, i)
		}
	}
	slices.Sort(ends)
	sum, done := 0.0, -1
	for _, end := range ends {
		sum += r.mass(max(done+1, end-m+1), end)
		done = max(done, end)
	}
	return sum * r.thin
}
