package predict

// direct: EIM × EIM. Each side's mapping stands before the other aims at it,
// so one SYN each does it for certain. Where a filter asks nothing, it suffices
// that this side's port was foretold, and one SYN to it will do.
func direct(a, b *side, budget int) Plan {
	alone := Plan{}
	switch {
	case budget < 1:
		return alone
	case a.open && (!b.open || a.stays >= b.stays):
		alone = Plan{Method: Listen, B: single(a), Probability: a.stays}
	case b.open:
		alone = Plan{Method: Listen, A: single(b), Probability: b.stays}
	}
	both := Plan{Method: Direct, A: single(b), B: single(a), Probability: float64(a.stays * b.stays)}
	if budget < 2 || alone.Probability >= both.Probability {
		return alone
	}
	return both
}

// single is one SYN to a side's port.
func single(to *side) Side { return Side{SYNs: 1, Ports: []uint16{to.outside.Port()}} }

// againstFixed plans for a hard side, a, and one whose port is known, b.
func againstFixed(hard, fixed *side, budget int) Plan {
	switch {
	case fixed.open && budget >= 1: // any source passes
		return Plan{Method: Listen, A: single(fixed), Probability: fixed.stays}
	case fixed.address && budget >= 2: // any port does, once the address was sent to
		return Plan{Method: Listen, A: single(fixed), B: Side{SYNs: 1, Ports: []uint16{hard.anyPort()}},
			Probability: fixed.stays / hard.forecast.addresses}
	}
	return sweep(hard, fixed, budget)
}

// anyPort is some port of the side's address.
func (s *side) anyPort() uint16 {
	if s.outside.Port() == 0 {
		return 1024
	}
	return s.outside.Port()
}
