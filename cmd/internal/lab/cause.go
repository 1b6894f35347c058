package lab

import (
	"slices"
	"time"

	"tcppunch/predict/nat"
)

// The causes that the lab can tell, in the words of the tool.
const (
	causeInfeasible   = "infeasible"
	causeNoHairpin    = "no-hairpin"
	causeMispredicted = "port-mispredicted"
	causeBlocked      = "simultaneous-open-blocked"
	causeSequence     = "sequence-checked"
	causeReset        = "nat-reset"
	causeICMP         = "nat-icmp"
	causeFiltered     = "nat-filtered"
	causeExhausted    = "mapping-exhausted"
	causeRate         = "rate-limited"
	causeClock        = "clock-too-poor"
	causeLate         = "launched-late"
)

// trueCause is why a meeting failed, and at whose box or host.
type trueCause struct {
	word string
	side string // "a" or "b"; "" where it is nobody's
}

// defaultBudget is the SYNs of a meeting that is not told otherwise.
const defaultBudget = 100

// cause finds out why a meeting failed, by what the boxes decided and what was
// seen on the way, never by what the tool says. ok is false where that does not
// tell.
func (t truth) cause(c Config) (why trueCause, ok bool) {
	sentA, sentB := t.sent('a'), t.sent('b')
	switch {
	case !reachable(c.A, c.B):
		return trueCause{word: causeInfeasible}, true
	case c.A.Shared || c.B.Shared:
		return trueCause{word: causeNoHairpin, side: "a"}, true
	}
	if !sentA || !sentB {
		if why, ok := t.limited(); ok {
			return why, true
		}
	}
	switch {
	case !sentA && !sentB && t.moves():
		return trueCause{word: causeInfeasible}, true
	case !sentA || !sentB:
		return trueCause{}, false
	case t.outside && !t.met():
		return trueCause{word: causeMispredicted, side: t.unforeseen()}, true
	}
	return t.interference(c)
}

// interference is what kept SYNs apart that were aimed right. Where each side
// answered the other's, they were not, and the failure came later.
func (t truth) interference(c Config) (trueCause, bool) {
	if t.answered('a') && t.answered('b') {
		return trueCause{}, false
	}
	if side, ok := t.between(nat.CrossingDropped, nat.CrossingRefused); ok {
		return trueCause{causeBlocked, side}, true
	}
	if side, ok := t.reset(); ok {
		return trueCause{t.whyEarly(c), side}, true
	}
	if side, ok := t.rejected(); ok {
		return trueCause{causeICMP, side}, true
	}
	if side, ok := t.between(nat.SequenceDropped); ok {
		return trueCause{causeSequence, side}, true
	}
	if why, ok := t.limited(); ok {
		return why, true
	}
	if t.gaveUp() {
		return trueCause{}, false // the SYNs met, and too late
	}
	side, _ := t.between(nat.Filtered, nat.Held, nat.SYNDropped)
	return trueCause{causeFiltered, side}, true
}

// whyEarly is why a SYN came so early that a reset answered it: the clocks were
// not compared, one side was told to launch late, or there was no time at all.
func (t truth) whyEarly(c Config) string {
	skew := t.skew()
	apart := skew != nil && time.Duration(*skew).Abs() > c.Delay
	switch {
	case apart && c.NoSync:
		return causeClock
	case apart && c.LateB > c.Delay:
		return causeLate
	}
	return causeReset
}

// limited says that a box refused a mapping because there were too many.
func (t truth) limited() (trueCause, bool) {
	if side, ok := t.decided(nat.QuotaExceeded, nat.NoPort); ok {
		return trueCause{causeExhausted, side}, true
	}
	side, ok := t.decided(nat.RateLimited)
	return trueCause{causeRate, side}, ok
}

// decided finds the first decision of one of these kinds, and whose box took
// it.
func (t truth) decided(kinds ...nat.Kind) (side string, ok bool) {
	return decision(t.mappings, kinds)
}

// between is decided of packets between the two sides: a box decides likewise
// about those by which the coordinator tests it.
func (t truth) between(kinds ...nat.Kind) (side string, ok bool) {
	peers := slices.Concat(t.edges.a, t.edges.b)
	return decision(slices.DeleteFunc(slices.Clone(t.mappings), func(m Mapping) bool { return m.Peer.IsValid() && !within(peers, m.Peer) }), kinds)
}

func decision(list []Mapping, kinds []nat.Kind) (side string, ok bool) {
	for _, m := range list {
		if m.Change == Decided && slices.ContainsFunc(kinds, func(k nat.Kind) bool { return m.Decision == k.String() }) {
			return sideOf(m.Box), true
		}
	}
	return "", false
}

func (t truth) sent(side byte) bool {
	_, ok := t.firstSYN(side)
	return ok
}

// answered says that a side sent a SYN-ACK, so that a SYN had come through.
func (t truth) answered(side byte) bool {
	return slices.ContainsFunc(t.sightings, func(s sighting) bool { return s.from == side && s.header.syn && s.header.ack })
}

// met says that a SYN of either side went from where the other's was going to,
// of the same round.
func (t truth) met() bool {
	for _, s := range t.sightings {
		if s.from != 'a' || !s.header.opens() {
			continue
		}
		for _, r := range t.sightings {
			if r.from == 'b' && r.header.opens() && r.header.source == s.header.destination && r.header.destination == s.header.source && together(r, s) {
				return true
			}
		}
	}
	return false
}

// together says that the sockets of two SYNs were alive at one time: those of a
// volley end within half a second of it, and the kernel repeats the SYN of one that
// waits longer every second.
func together(a, b sighting) bool {
	const within = 600 * time.Millisecond
	return a.sent.Sub(b.sent).Abs() < within
}

// unforeseen is the side at whose mappings the other never aimed; "" if that is
// both.
func (t truth) unforeseen() string {
	hitA, hitB := t.aimed('b', 'a'), t.aimed('a', 'b')
	switch {
	case hitA && !hitB:
		return "b"
	case hitB && !hitA:
		return "a"
	}
	return ""
}

// aimed says that one side aimed a SYN at a port from which the other sent one
// to it.
func (t truth) aimed(from, at byte) bool {
	for _, s := range t.sightings {
		if s.from != from || !s.header.opens() {
			continue
		}
		for _, r := range t.sightings {
			if r.from == at && r.header.opens() && r.header.source == s.header.destination && together(r, s) {
				return true
			}
		}
	}
	return false
}

// moves says that a box gave one inside endpoint several outside ones, so that
// what one destination saw told nothing of the next.
func (t truth) moves() bool {
	seen := map[[2]string]string{} // box and inside endpoint → outside
	for _, m := range t.mappings {
		if m.Change != Created || m.Inbound || m.Protocol != "tcp" {
			continue
		}
		key := [2]string{m.Box, m.Inside.String()}
		if was, ok := seen[key]; ok && was != m.Outside.String() {
			return true
		}
		seen[key] = m.Outside.String()
	}
	return false
}

// reset says whether a RST answered a SYN before either side had an answer, and
// from whose side. The RST of a host that had sent its own SYN before is another
// matter: it has given up.
func (t truth) reset() (side string, ok bool) {
	for i, s := range t.sightings {
		if s.header.rst && !t.opened(i) {
			return string(s.from), true
		}
		if s.header.syn && s.header.ack {
			return "", false
		}
	}
	return "", false
}

// gaveUp says whether a side reset what it had begun itself.
func (t truth) gaveUp() bool {
	for i, s := range t.sightings {
		if s.header.rst && t.opened(i) {
			return true
		}
	}
	return false
}

// opened says that a SYN left between the same ends before sighting i.
func (t truth) opened(i int) bool {
	own := t.sightings[i].header
	return slices.ContainsFunc(t.sightings[:i], func(s sighting) bool {
		return s.header.opens() && s.header.source == own.source && s.header.destination == own.destination
	})
}

// rejected says whether an ICMP error did.
func (t truth) rejected() (side string, ok bool) {
	for _, s := range t.sightings {
		if s.header.unreachable {
			return string(s.from), true
		}
	}
	return "", false
}
