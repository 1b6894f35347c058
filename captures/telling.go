package captures

import "cmp"

// Telling is the handshake that tells most, nil if there is none: one that was
// established before one that was not, then one in which both sides sent SYNs,
// then one that was answered, then one seen from more places, then the last.
func (a Analysis) Telling() *Handshake {
	var best *Handshake
	for i := range a.Handshakes {
		if h := &a.Handshakes[i]; best == nil || h.compare(best) >= 0 {
			best = h
		}
	}
	return best
}

func (h *Handshake) compare(other *Handshake) int {
	return cmp.Or(cmp.Compare(h.standing(), other.standing()), cmp.Compare(min(h.SynsA, h.SynsB, 1), min(other.SynsA, other.SynsB, 1)),
		cmp.Compare(h.answers(), other.answers()),
		cmp.Compare(len(h.Vantages), len(other.Vantages)))
}

// standing is 2 for an established connection, 1 where that is not known.
func (h *Handshake) standing() int {
	switch {
	case h.Established == nil:
		return 1
	case *h.Established:
		return 2
	}
	return 0
}

// answers is 0 where SYNs met silence, which tells less than any answer.
func (h *Handshake) answers() int {
	if h.Verdict == VerdictUnanswered {
		return 0
	}
	return 1
}
