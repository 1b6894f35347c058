package timing

import (
	"errors"
	"io/fs"
	"os"
	"strings"
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

// maxSlewPPM is how fast the wall clock may part from the monotonic one
// without being set. adjtimex(2) adjusts the rate of both alike.
const maxSlewPPM = 0

// suspended is how far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC: "identical
// […] except that it also includes any time that the system is suspended"
// (clock_gettime(2)). Of a few bracketed readings the tightest counts.
func suspended() time.Duration {
	var best time.Duration
	width := int64(1<<63 - 1)
	for range 4 {
		var before, boot, after unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &before) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil ||
			unix.ClockGettime(unix.CLOCK_MONOTONIC, &after) != nil {
			return 0
		}
		if w := after.Nano() - before.Nano(); w < width {
			width = w
			best = time.Duration(boot.Nano() - before.Nano() - w/2)
		}
	}
	return best
}

// bootKey names the run of CLOCK_MONOTONIC that this process sees: that of a
// boot, shifted by a time namespace (time_namespaces(7)). It is "" if unknown.
func bootKey() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/time")
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // kernels before 5.6 have none
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + namespace
}
