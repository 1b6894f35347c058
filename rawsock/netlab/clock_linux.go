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
	age  time.Duration // how long before that the packet in hand came
}

// oldest is how long a packet may have waited by the wall clock; more means that
// the clock was set meanwhile.
const oldest = time.Second

// arrived notes when a packet came that is looked at now: by the wall clock, in
// nanoseconds since 1970, or 0 if it came just now.
func (i instant) arrived(wall int64) instant {
	if age := time.Duration(i.wall.UnixNano() - wall); wall != 0 && age > 0 && age < oldest {
		i.age = age
	}
	return i
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
	return instant{at: c.of(t), wall: t}
}

// of converts an instant with a monotonic reading.
func (c clock) of(t time.Time) time.Duration { return c.at + t.Sub(c.base) }
