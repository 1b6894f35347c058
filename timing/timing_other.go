//go:build !linux

package timing

import "time"

// monotonicAt makes the start of the process the zero Instant.
func monotonicAt(time.Time) Instant { return 0 }

func sleepUntil(at Instant) { time.Sleep(at.Sub(Now())) }

// maxSlewPPM is the most that adjtime(2) and its kin change the rate of the
// wall clock, while the monotonic clock may be that of the bare oscillator.
const maxSlewPPM = 500

func suspended() time.Duration { return 0 }

// bootKey is unknown: Instants end with the process.
func bootKey() string { return "" }
