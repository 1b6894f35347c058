// Package timing answers the question WHEN: what is the time by a reference
// that two machines share, how far from the truth can that be, and how does a
// program wake at one instant of it.
//
// Three scales meet here. An [Instant] is a reading of the monotonic clock of
// this machine. The local timescale is the one of a [Clock]: the wall clock
// read once and carried on by the monotonic clock, so that a step of the wall
// clock cannot reach it. Reference time is what the servers say. [Sync] finds
// the offset of the reference from the local timescale, with a bound, and
// [Estimate.Instant] takes an agreed reference time to the instant at which
// [Wait] returns. Two machines that asked the same servers know each other's
// clocks better than the reference: [Align] puts both on one timescale. The
// names and formulas are those of RFC 5905.
//
// Read sample.go next for the four timestamps, then sync.go and pair.go.
//
// Hazards: an Instant means nothing in another process of another machine, nor
// after a reboot; CLOCK_MONOTONIC stands still while the machine is suspended,
// so an Estimate must not outlive a suspension (see [Clock.Check]).
package timing

import (
	"context"
	"sync"
	"time"
)

// Instant is a reading of CLOCK_MONOTONIC in nanoseconds. On platforms other
// than Linux it counts from the start of the process.
type Instant int64

// start and origin tie Go's own monotonic clock to CLOCK_MONOTONIC; they are
// the same clock on Linux, but Go does not tell its readings.
var (
	start  = time.Now()
	origin = monotonicAt(start)
)

// Now reads the monotonic clock.
func Now() Instant { return origin.Add(time.Since(start)) }

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Sub returns the time from j to i.
func (i Instant) Sub(j Instant) time.Duration { return time.Duration(i - j) }

// Precision is that of Now, as RFC 5905 section 7.3 means it: the larger of its
// resolution and the time to read it. It belongs into a Sample's Precision.
func Precision() time.Duration { return precision() }

var precision = sync.OnceValue(func() time.Duration {
	least := time.Second
	for range 10 {
		a := Now()
		b := Now()
		for n := 0; a == b && n < 1e6; n++ { // a coarse clock ticks within some ms
			b = Now()
		}
		least = min(least, max(b.Sub(a), 1))
	}
	return least
})

// Of the three parts of a wait, the timer of the Go runtime wakes up to 1 ms
// late when idle and several milliseconds late under load, the kernel's sleep
// some 50 µs late, and the spin below 1 µs.
const (
	sleepFrom = 20 * time.Millisecond // before the instant: from timer to kernel sleep
	spinFrom  = 2 * time.Millisecond  // before the instant: from kernel sleep to spin
)

// Wait returns at the instant, at once when it is past, and with the error of
// ctx when that ends first. The last 2 ms spin on the processor. The caller may
// have locked its goroutine to a thread, and gains by it.
func Wait(ctx context.Context, at Instant) error {
	if err := waitTimer(ctx, at.Add(-sleepFrom)); err != nil {
		return err
	}
	sleepUntil(at.Add(-spinFrom))
	for at > Now() {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func waitTimer(ctx context.Context, at Instant) error {
	d := at.Sub(Now())
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
