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
	// unbounded is swept where nothing bounds how far the two sides' instants
	// lie apart: what the launches of one host differ by.
	unbounded = 200 * time.Microsecond
)

// retryAt is when try n (from 0) is due after a refusal. Both sides try at
// common instants, pitch apart, on the timescale they share. Two sides whose
// instants lie apart by more than the window would miss each other every time;
// therefore one of them shifts its phase from try to try, over all that the
// bound allows.
func (p plan) retryAt(now timing.Instant, n int) timing.Instant {
	next := p.at.Add((now.Sub(p.at)/pitch + 1) * pitch)
	phase := p.phase(n)
	if at := next.Add(phase); at > now {
		return at
	}
	return next.Add(pitch + phase)
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
