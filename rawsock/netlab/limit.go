package netlab

import "time"

// limiter is the token bucket by which a router limits its ICMP errors.
type limiter struct {
	spent time.Duration // CLOCK_MONOTONIC when the bucket is full again
}

// burstShare is the size of the bucket: what a 20th of a second fills.
const burstShare = time.Second / 20

// allow takes a token, one of which comes per interval.
func (l *limiter) allow(now, interval time.Duration) bool {
	full := max(l.spent, now)
	if full+interval > now+max(burstShare, interval) {
		return false
	}
	l.spent = full + interval
	return true
}
