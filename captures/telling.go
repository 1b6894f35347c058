package captures

import (
	"cmp"
	"net/netip"
	"slices"
)

// Judge reads all sources, which are several vantage points, and returns the
// handshake that tells most about the connection between hosts: nil, if there
// was none. A host counts with every address that it has at any vantage point,
// so that those inside and outside of a NAT serve alike. Without hosts all
// handshakes are compared.
func Judge(sources []Source, hosts ...netip.Addr) (*Handshake, error) {
	a, err := Analyze(sources, Filter{})
	if err != nil {
		return nil, err
	}
	return a.Telling(hosts...), nil
}

// Telling is the handshake with all of the hosts that tells most: one that was
// established before one that was not, then one in which both sides sent SYNs,
// then one that was answered, then one seen from more places, then the last.
func (a Analysis) Telling(hosts ...netip.Addr) *Handshake {
	var best *Handshake
	for i := range a.Handshakes {
		h := &a.Handshakes[i]
		if h.involves(hosts) && (best == nil || h.compare(best) >= 0) {
			best = h
		}
	}
	return best
}

func (h *Handshake) involves(hosts []netip.Addr) bool {
	return !slices.ContainsFunc(hosts, func(host netip.Addr) bool {
		return !slices.ContainsFunc(h.Vantages, func(v Vantage) bool {
			return v.A.Addr() == host.Unmap() || v.B.Addr() == host.Unmap()
		})
	})
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
