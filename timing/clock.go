package timing

import (
	"sync/atomic"
	"time"
)

// Clock is the local timescale of this process: the wall clock read once,
// carried on by the monotonic clock. For experiments it can be made wrong by a
// constant error and a drift. It is safe for concurrent use.
type Clock struct {
	anchor Instant       // when the wall clock was read
	wall   time.Time     // what it said
	wrong  time.Duration // injected error at the anchor
	drift  float64       // injected, seconds per second
	read   func() reading
	asleep func() time.Duration // how long the machine was suspended since it started

	mark            atomic.Pointer[mark]
	injectedStep    atomic.Int64
	injectedSuspend atomic.Int64
}

// reading is one look at both clocks: the wall clock said wall at mono, give
// or take half of width.
type reading struct {
	mono  Instant
	wall  time.Time
	width time.Duration
}

// NewClock starts a timescale that is err ahead of the wall clock and gains
// driftPPM microseconds per second on it. Both are 0 outside of experiments.
func NewClock(err time.Duration, driftPPM float64) *Clock {
	return newClock(err, driftPPM, readClocks, suspended)
}

func newClock(err time.Duration, driftPPM float64, read func() reading, asleep func() time.Duration) *Clock {
	r := read()
	c := &Clock{anchor: r.mono, wall: r.wall, wrong: err, drift: driftPPM / 1e6, read: read, asleep: asleep}
	c.Mark()
	return c
}

// readClocks takes the wall clock between two readings of the monotonic one,
// and the tightest of a few such brackets, so that a preempted thread does not
// spoil it.
func readClocks() reading {
	var best reading
	for i := range 4 {
		before := Now()
		wall := time.Now().Round(0).UTC()
		width := Now().Sub(before)
		if i == 0 || width < best.width {
			best = reading{mono: before.Add(width / 2), wall: wall, width: width}
		}
	}
	return best
}

// At is the local time at an instant.
func (c *Clock) At(i Instant) time.Time {
	d := i.Sub(c.anchor)
	return c.wall.Add(c.error() + d + time.Duration(float64(d)*c.drift))
}

// Now is the local time.
func (c *Clock) Now() time.Time { return c.At(Now()) }

// Instant is when the local time is, was or will be local.
func (c *Clock) Instant(local time.Time) Instant {
	d := local.Sub(c.wall) - c.error()
	return c.anchor.Add(d - time.Duration(float64(d)*c.drift/(1+c.drift)))
}

// error is the injected one. What is slept through is missing.
func (c *Clock) error() time.Duration {
	return c.wrong - time.Duration(c.injectedSuspend.Load())
}

// Step is how far the wall clock has moved against this timescale since its
// start, to some microseconds. The local timescale itself does not move with
// it. A suspension of the machine shows as a step forward.
func (c *Clock) Step() time.Duration {
	r := c.read()
	return r.wall.Sub(c.wall) - r.mono.Sub(c.anchor) + time.Duration(c.injectedStep.Load()+c.injectedSuspend.Load())
}

// stepped reports whether the wall clock was set since the start.
func (c *Clock) stepped() bool {
	return c.Step().Abs() > stepTolerance(c.read().mono.Sub(c.anchor))
}
