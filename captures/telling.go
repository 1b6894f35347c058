package captures

import "cmp"

// Telling is the handshake that tells most of a meeting, nil if there is none:
// one that was established before one that was not, then one in which both sides
// sent SYNs, then one that was answered, then one seen from more places, then
// the last.
func (a Analysis) Telling() *Handshake {
	return a.best(func(h, other *Handshake) int {
		return cmp.Or(cmp.Compare(h.standing(), other.standing()), cmp.Compare(h.openers(), other.openers()), h.compare(other))
	})
}

// Picture is the handshake to draw where one is drawn of many, nil if there is
// none: one in which both sides sent SYNs before the others, which a capture may
// hold by the thousand; then as Telling has it.
func (a Analysis) Picture() *Handshake {
	return a.best(func(h, other *Handshake) int {
		return cmp.Or(cmp.Compare(h.openers(), other.openers()), cmp.Compare(h.standing(), other.standing()), h.compare(other))
	})
}

func (a Analysis) best(compare func(h, other *Handshake) int) *Handshake {
	var best *Handshake
	for i := range a.Handshakes {
		if h := &a.Handshakes[i]; best == nil || compare(h, best) >= 0 {
			best = h
		}
	}
	return best
}

func (h *Handshake) compare(other *Handshake) int {
	return cmp.Or(cmp.Compare(h.answers(), other.answers()), cmp.Compare(len(h.Vantages), len(other.Vantages)))
}

// openers is 1 where both sides sent SYNs.
func (h *Handshake) openers() int { return min(h.SynsA, h.SynsB, 1) }

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
