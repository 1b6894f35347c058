package netlab

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// clock reads CLOCK_MONOTONIC and the wall clock together and without a system
// call: on Linux the monotonic reading inside time.Time is CLOCK_MONOTONIC, up
// to a constant.
type clock struct {
	base time.Time
	at   time.Duration // CLOCK_MONOTONIC at base
}

type instant struct {
	at   time.Duration // CLOCK_MONOTONIC
	wall time.Time
}

func newClock() (clock, error) {
	before, base, after := unix.Timespec{}, time.Time{}, unix.Timespec{}
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &before); err != nil {
		return clock{}, fmt.Errorf("read CLOCK_MONOTONIC: %w", err)
	}
	base = time.Now()
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &after); err != nil {
		return clock{}, fmt.Errorf("read CLOCK_MONOTONIC: %w", err)
	}
	return clock{base, time.Duration(before.Nano()+after.Nano()) / 2}, nil
}

func (c clock) now() instant {
	t := time.Now()
	return instant{c.of(t), t}
}

// of converts an instant with a monotonic reading.
func (c clock) of(t time.Time) time.Duration { return c.at + t.Sub(c.base) }
