//go:build !linux

package timing

import "time"

// monotonicAt makes the start of the process the zero Instant.
func monotonicAt(time.Time) Instant { return 0 }

func sleepUntil(at Instant) { time.Sleep(at.Sub(Now())) }
