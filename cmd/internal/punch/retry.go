package punch

import (
	"time"

	"tcppunch/timing"
)

const (
	// pitch separates the common instants of retries. A reset has come back by
	// then on a path short enough for the phase to matter.
	pitch = 2 * time.Millisecond
	// window is the difference of two launches up to which SYNs surely cross
	// on the shortest paths: on loopback half of them still did at 6 µs, between
	// two network namespaces at 8.5 µs, and behind two resetting NATs without
	// any delay 95 % at 40 µs.
	window = 6 * time.Microsecond
	// launchLead is how long before the instant the first launch spins: a
	// processor may have to wake from its deepest sleep, and others to leave
	// it.
	launchLead = 2 * time.Millisecond
	// retryLead leaves other threads most of the time between two retries.
	retryLead = 500 * time.Microsecond
	// unbounded is swept where nothing bounds how far the two sides' instants
	// lie apart: what the launches of one host differ by.
	unbounded = 200 * time.Microsecond
)

// retryAt is when try n (from 0) is due after a refusal. Both sides try at
// common instants, pitch apart, on the timescale they share. Two sides whose
// instants lie apart by more than the window would miss each other every time;
// therefore one of them shifts its phase from try to try, over all that the
// bound allows. While the second round is on nothing is tried: its SYNs need
// the processors.
func (p plan) retryAt(now timing.Instant, n int) timing.Instant {
	phase := p.phase(n)
	at := p.common(now).Add(phase)
	if at <= now {
		at = at.Add(pitch)
	}
	if from, to := p.secondRound(); at >= from && at < to {
		return p.common(to).Add(phase)
	}
	return at
}

// common is the first common instant after now.
func (p plan) common(now timing.Instant) timing.Instant {
	return p.at.Add((now.Sub(p.at)/pitch + 1) * pitch)
}

// secondRound is when the low-ttl round has the processors for itself: from
// before its first SYN until the answer to its second one. It is empty where
// there is none.
func (p plan) secondRound() (from, to timing.Instant) {
	for _, pair := range p.pairs {
		if pair.Local.Spare {
			return p.lowTTLAt().Add(-2 * pitch), p.lowTTLAt().Add(p.lowTTLGap() + p.delay + 10*time.Millisecond)
		}
	}
	return 0, 0
}

// phase sweeps 0, +1, −1, +2, −2 … steps of two windows, up to the bound or
// half a pitch, and then begins again.
func (p plan) phase(n int) time.Duration {
	if !p.sweeps {
		return 0
	}
	reach := p.bound
	if reach == 0 {
		reach = unbounded
	}
	const step = 2 * window
	k := n % (1 + 2*int((min(reach, pitch/2)+window)/step))
	if k%2 == 1 {
		return time.Duration(k/2+1) * step
	}
	return -time.Duration(k/2) * step
}
