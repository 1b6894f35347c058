package predict

// birthday tries ports of a range: m of N are open, k are tried. All tries miss
// with
//
//	C(N−m,k)/C(N,k) = Π (N−m−i)/(N−i), i < k
//
// about e^(−mk/N), so that m = k = n/2 is best. Ports that were seen are still
// taken and not drawn again; ports between those seen are surely in the range.
func (f *forecast) birthday(p *pool, budget int) (m int, ports []uint16) {
	k := budget / 2
	m = budget - k
	if k == 0 {
		return 0, nil
	}
	ports = p.unseen(f.seen, k)
	m = min(m, p.most())
	whole := f.drawnAmong(p, m, ports)
	low, high := 1, min(m, len(ports)) // the fewest each that do almost as well
	for low < high {
		n := (low + high) / 2
		if f.drawnAmong(p, n, ports[:n]) >= whole*enoughShare {
			high = n
		} else {
			low = n + 1
		}
	}
	if high < min(m, len(ports)) {
		return high, ports[:high]
	}
	return m, ports
}

// most is the largest number of ports that there may be.
func (p *pool) most() int {
	most := 1
	for _, w := range p.widths {
		most = max(most, w.Ports)
	}
	return most
}

// unseen lists at most n ports that were not seen, evenly over the inner range,
// and beyond it where that does not hold as many.
func (p *pool) unseen(seen []uint16, n int) []uint16 {
	var taken [1 << 16]bool
	for _, port := range seen {
		taken[port] = true
	}
	inner := p.free(&taken, p.inner)
	if len(inner) > n {
		for i := range n {
			inner[i] = inner[i*len(inner)/n]
		}
		return inner[:n]
	}
	for port := p.inner.low; port <= p.inner.high; port++ {
		taken[port] = true
		if port == 65535 {
			break
		}
	}
	outer := p.free(&taken, p.outer)
	return append(inner, outer[:min(len(outer), n-len(inner))]...)
}

// free lists the ports of a range that are not taken.
func (p *pool) free(taken *[1 << 16]bool, s span) []uint16 {
	list := make([]uint16, 0, s.width())
	first := int(s.low) + (int(s.low)^int(p.inner.low))&(p.step-1)
	for port := first; port <= int(s.high); port += p.step {
		if !taken[port] {
			list = append(list, uint16(port))
		}
	}
	return list
}

// drawnAmong is the probability that m draws hit one of the ports.
func (f *forecast) drawnAmong(p *pool, m int, ports []uint16) float64 {
	inside, beyond := 0.0, 0.0
	for _, port := range ports {
		switch {
		case (port^p.inner.low)&uint16(p.step-1) != 0:
		case p.inner.low <= port && port <= p.inner.high:
			inside++
		case p.outer.low <= port && port <= p.outer.high:
			beyond++
		}
	}
	sum, total := 0.0, 0.0
	for _, w := range p.widths {
		// Beyond the inner range a port is in the range with this probability.
		likely := min(1, float64(max(0, w.Ports*p.step-p.inner.width()))/float64(max(1, p.outer.width()-p.inner.width())))
		ports := float64(float64(free(w.Ports, f.seen)) * f.addresses)
		sum += float64(w.Weight * someOf(ports, m, inside+float64(beyond*likely)))
		total += w.Weight
	}
	if total == 0 {
		return 0
	}
	return sum / total
}

// free is how many ports are left of those that a NAT draws from.
func free(ports int, seen []uint16) int { return max(1, ports-len(seen)) }

// someOf is the probability that m of N are among k.
func someOf(ports float64, m int, k float64) float64 {
	miss := 1.0
	for i := 0.0; i < k && miss > 1e-12; i++ {
		left := max(0, ports-float64(m)-i)
		if rest := k - i; rest < 1 { // the last part of a fractional number
			return 1 - float64(miss*(1-float64(rest*(1-left/(ports-i)))))
		}
		miss = float64(miss * (left / max(1, ports-i)))
	}
	return 1 - miss
}
