package netlab

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// stats of a port are written by the core's thread and read by others.
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
	causeQueueFull
	causeSilenced
	causeMisdirected
	causes
)

// event is what a trace says of a packet that a link dropped.
func (c cause) event() Event {
	if c == causeQueueFull {
		return QueueFull
	}
	return Lost
}

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

// tally copies the statistics; what happens meanwhile may be half in it.
func (s *stats) tally() (t tally) {
	for i := range s.late {
		t.late[i] = s.late[i].Load()
	}
	for i := range s.drops {
		t.drops[i] = s.drops[i].Load()
	}
	return t
}
