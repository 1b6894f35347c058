package timing

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonicAt is the reading of CLOCK_MONOTONIC at t, which must hold a
// reading of Go's monotonic clock. Of a few bracketed readings the tightest is
// right to some 100 ns.
func monotonicAt(t time.Time) Instant {
	var best Instant
	width := time.Duration(1<<63 - 1)
	for range 8 {
		before := time.Since(t)
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
			return 0
		}
		after := time.Since(t)
		if after-before < width {
			width = after - before
			best = Instant(ts.Nano()).Add(-(before + width/2))
		}
	}
	return best
}

// sleepUntil sleeps in the kernel. The runtime interrupts threads with
// signals, after which the rest of an absolute sleep is simply slept again.
func sleepUntil(at Instant) {
	if at <= Now() {
		return
	}
	ts := unix.NsecToTimespec(int64(at))
	for unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil) == unix.EINTR {
	}
}
