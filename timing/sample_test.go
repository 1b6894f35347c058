package timing

import (
	"testing"
	"time"
)

const (
	ms = time.Millisecond
	us = time.Microsecond
)

func at(d time.Duration) time.Time { return time.Unix(1_700_000_000, 0).Add(d) }

func TestOffsetAndDelayFollowRFC5905(t *testing.T) {
	const era = 1 << 32 * time.Second
	eraStart := time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC)
	for _, c := range []struct {
		name           string
		t1, t2, t3, t4 time.Time
		offset, delay  time.Duration
	}{
		{"equal clocks, equal ways", at(0), at(10 * ms), at(11 * ms), at(21 * ms), 0, 20 * ms},
		{"server ahead", at(0), at(110 * ms), at(111 * ms), at(21 * ms), 100 * ms, 20 * ms},
		{"server behind", at(0), at(-90 * ms), at(-89 * ms), at(21 * ms), -100 * ms, 20 * ms},
		{"the whole delay on the way there", at(0), at(20 * ms), at(20 * ms), at(20 * ms), 10 * ms, 20 * ms},
		{"the whole delay on the way back", at(0), at(0), at(0), at(20 * ms), -10 * ms, 20 * ms},
		{"odd nanoseconds", at(0), at(3), at(3), at(4), 1, 4},
		{"across the era", eraStart.Add(-5 * ms), eraStart.Add(5 * ms), eraStart.Add(6 * ms), eraStart.Add(16 * ms), 0, 20 * ms},
		{"two centuries apart, whose sum overflows", at(0), at(0).AddDate(200, 0, 0), at(0).AddDate(200, 0, 0), at(0), at(0).AddDate(200, 0, 0).Sub(at(0)), 0},
		{"an era apart", at(0), at(era + 10*ms), at(era + 11*ms), at(21 * ms), era, 20 * ms},
	} {
		s := Sample{T1: c.t1, T2: c.t2, T3: c.t3, T4: c.t4}
		if got := s.Offset(); got != c.offset {
			t.Errorf("%s: offset: got %v, want %v", c.name, got, c.offset)
		}
		if got := s.Delay(); got != c.delay {
			t.Errorf("%s: delay: got %v, want %v", c.name, got, c.delay)
		}
	}
}

func TestBoundIsHalfTheDelayAndPrecisionAndDrift(t *testing.T) {
	s := Sample{T1: at(0), T2: at(10 * ms), T3: at(10 * ms), T4: at(20 * ms), Precision: 3, Destination: 1000}
	// 15 ppm of 20 ms are 300 ns, of a second 15 µs; rounding up adds PHI once.
	if got, want := s.Bound(1000), 10*ms+3+300+15; got != want {
		t.Errorf("at once: got %v, want %v", got, want)
	}
	if got, want := s.Bound(Instant(1000).Add(time.Second)), 10*ms+3+15300+15; got != want {
		t.Errorf("after a second: got %v, want %v", got, want)
	}
	s.RootDelay, s.RootDispersion = 4*ms, 5*ms
	if got, want := s.RootDistance(1000), s.Bound(1000)+7*ms; got != want {
		t.Errorf("root distance: got %v, want %v", got, want)
	}
}

func TestBoundOfACoarseServerClockIsNotNegative(t *testing.T) {
	s := Sample{T1: at(0), T2: at(0), T3: at(ms), T4: at(0), Precision: ms}
	if got := s.Bound(0); got < ms {
		t.Errorf("got %v, want at least the precision %v", got, ms)
	}
}
