package netlab

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// stats is written by the core's thread and read by others.
type stats struct {
	late  [buckets]atomic.Uint64
	max   atomic.Int64
	drops [causes]atomic.Uint64
}

type cause int

const (
	causeLost cause = iota
	causeTTL
	causeUnreachable
	causeMalformed
	causeNotUnicast
	causeOverflow
	causes
)

// Buckets are logarithmic with 16 steps per power of two.
const (
	steps   = 16
	buckets = 60 * steps
)

func bucket(ns int64) int {
	if ns < steps {
		return int(max(ns, 0))
	}
	shift := bits.Len64(uint64(ns)) - 5 // leaves 16 to 31
	return min((shift+1)*steps+int(ns>>shift)-steps, buckets-1)
}

// bucketTop is the largest value that falls into a bucket.
func bucketTop(i int) int64 {
	if i < steps {
		return int64(i)
	}
	shift := i/steps - 1
	return (int64(i%steps)+steps+1)<<shift - 1
}

func (s *stats) delivered(late time.Duration) {
	s.late[bucket(int64(late))].Add(1)
	if int64(late) > s.max.Load() {
		s.max.Store(int64(late))
	}
}

func (s *stats) dropped(c cause) { s.drops[c].Add(1) }

func (s *stats) reset() {
	for i := range s.late {
		s.late[i].Store(0)
	}
	for i := range s.drops {
		s.drops[i].Store(0)
	}
	s.max.Store(0)
}

func (s *stats) lateness() Lateness {
	var counts [buckets]uint64
	var total uint64
	for i := range s.late {
		counts[i] = s.late[i].Load()
		total += counts[i]
	}
	worst := s.max.Load()
	at := func(q float64) time.Duration {
		rank := uint64(math.Ceil(q * float64(total)))
		var seen uint64
		for i, n := range counts {
			if seen += n; n > 0 && seen >= rank {
				return time.Duration(min(bucketTop(i), worst))
			}
		}
		return 0
	}
	return Lateness{
		P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: time.Duration(worst),
		Delivered: total,
		Dropped: Drops{
			Lost: s.drops[causeLost].Load(), TTLExceeded: s.drops[causeTTL].Load(),
			Unreachable: s.drops[causeUnreachable].Load(), Malformed: s.drops[causeMalformed].Load(),
			NotUnicast: s.drops[causeNotUnicast].Load(), Overflow: s.drops[causeOverflow].Load(),
		},
	}
}
