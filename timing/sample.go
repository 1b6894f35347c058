package timing

import (
	"context"
	"time"
)

// Source is a clock that can be asked for one exchange of timestamps.
type Source interface {
	Name() string // as the user wrote it
	Sample(ctx context.Context) (Sample, error)
}

// Sample is one exchange with a server. The timestamps have the names of RFC
// 5905 section 8: T1 request sent and T4 reply received on the local
// timescale, T2 request received and T3 reply sent on the server's.
type Sample struct {
	Server         string // the address that answered
	T1, T2, T3, T4 time.Time
	Destination    Instant       // T4 on the monotonic clock
	Precision      time.Duration // of both clocks' readings together
	Stamped        bool          // by the kernel on arrival, not when a program woke to read it
	Stratum        int
	RootDelay      time.Duration // from the server to its primary reference and back
	RootDispersion time.Duration // of the server against its primary reference
}

// phi is PHI of RFC 5905 section 7.2, the frequency tolerance of a clock in
// parts per million.
const phi = 15

// Offset is θ of RFC 5905 section 8: reference minus local.
func (s Sample) Offset() time.Duration {
	return midpoint(s.T2.Sub(s.T1), s.T3.Sub(s.T4))
}

// midpoint avoids the overflow of the sum of two long durations.
func midpoint(a, b time.Duration) time.Duration { return a/2 + b/2 + (a%2+b%2)/2 }

// Delay is δ of RFC 5905 section 8: the round trip without the server's own
// time. A coarse server clock can make it a little less than 0.
func (s Sample) Delay() time.Duration {
	return s.T4.Sub(s.T1) - s.T3.Sub(s.T2)
}

// Bound is how far Offset can be from the true offset of the server's clock at
// now: all of the delay may lie on one way, the readings have a precision, and
// two clocks drift apart by at most PHI.
func (s Sample) Bound(now Instant) time.Duration {
	age := now.Sub(s.Destination).Abs() + s.T4.Sub(s.T1).Abs()
	return max(s.Delay(), 0)/2 + s.Precision + drifted(age)
}

// RootDistance is λ of RFC 5905 section 11.2: Bound, and how far the server's
// own clock can be from its primary reference.
func (s Sample) RootDistance(now Instant) time.Duration {
	return s.Bound(now) + s.RootDelay/2 + s.RootDispersion
}

// drifted is PHI over a time, rounded up.
func drifted(age time.Duration) time.Duration { return age/1e6*phi + phi }
