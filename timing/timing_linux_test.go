package timing

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNowIsClockMonotonic(t *testing.T) {
	best := time.Hour
	for range 20 {
		before := Now()
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		after := Now()
		middle := before.Add(after.Sub(before) / 2)
		best = min(best, Instant(ts.Nano()).Sub(middle).Abs())
	}
	if best > 10*time.Microsecond {
		t.Errorf("off by %v", best)
	}
}
