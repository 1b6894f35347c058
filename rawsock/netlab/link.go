package netlab

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Link describes one direction of an access link. The zero value is a wire
// without length.
type Link struct {
	Delay  time.Duration // propagation delay
	Jitter time.Duration // each packet's delay is uniform in Delay±Jitter; packets may then overtake each other
	Loss   float64       // probability in [0, 1] that a packet is lost on its way

	// Reorder is the probability in [0, 1] that a packet is held back by
	// ReorderGap, so that what follows within the gap overtakes it: reordering as
	// RFC 4737 section 3.3 has it. No gap means DefaultReorderGap.
	Reorder    float64
	ReorderGap time.Duration

	// Rate is how fast packets are put on the link, in bits per second of IP
	// packets; 0 is without limit. Those that find others before them wait, and are
	// dropped from the tail when more than Queue bytes wait, the packet being sent
	// included. No Queue means DefaultQueue at this rate.
	Rate  int64
	Queue int
}

const (
	// DefaultReorderGap is long enough for a burst of hundreds of SYNs to overtake.
	DefaultReorderGap = time.Millisecond
	// DefaultQueue is how long the longest queue of a link takes to be sent.
	DefaultQueue = 100 * time.Millisecond
	// maxDuration of each time of a link keeps their sum a time.
	maxDuration = time.Hour
)

func (l Link) check() error {
	for _, d := range []time.Duration{l.Delay, l.Jitter, l.ReorderGap} {
		if d < 0 || d > maxDuration {
			return errors.New("delay, jitter and gap must be in [0, 1h]")
		}
	}
	switch {
	case !(l.Loss >= 0 && l.Loss <= 1):
		return errors.New("loss is not in [0, 1]")
	case !(l.Reorder >= 0 && l.Reorder <= 1):
		return errors.New("reorder is not in [0, 1]")
	case l.Rate < 0 || l.Queue < 0:
		return errors.New("negative rate or queue")
	case l.Rate > 0 && l.sending(maxPacket) > maxDuration:
		return errors.New("a packet takes more than an hour at this rate")
	}
	return nil
}

// sending is how long bytes take at the link's rate.
func (l Link) sending(bytes int) time.Duration {
	return time.Duration(float64(bytes) * 8 / float64(l.Rate) * float64(time.Second))
}

// lane is a direction of a link with what it remembers.
type lane struct {
	Link
	random *rand.Rand
	room   time.Duration // how long the longest queue takes to be sent
	free   time.Duration // CLOCK_MONOTONIC when all that was put on the link has left
}

// newLane gives each lane randomness of its own, so that what happens on one
// does not depend on the order of events on another.
func newLane(l Link, seed, number uint64) lane {
	if l.ReorderGap == 0 {
		l.ReorderGap = DefaultReorderGap
	}
	a := lane{Link: l, random: rand.New(rand.NewPCG(seed, number)), room: DefaultQueue}
	if l.Rate > 0 && l.Queue > 0 {
		a.room = min(l.sending(l.Queue), maxDuration)
	}
	return a
}

// cross draws what happens to a packet that arrives at an instant: when it is at
// the other end, or why never. Packets must come in the order of their arrival.
func (a *lane) cross(at time.Duration, size int) (arrival time.Duration, c cause, ok bool) {
	if a.Rate > 0 {
		if at, ok = a.queue(at, size); !ok {
			return 0, causeQueueFull, false
		}
	}
	if a.Loss > 0 && a.random.Float64() < a.Loss {
		return 0, causeLost, false
	}
	delay := a.Delay
	if a.Jitter > 0 {
		delay = max(0, delay+time.Duration((2*a.random.Float64()-1)*float64(a.Jitter)))
	}
	at += delay
	if a.Reorder > 0 && a.random.Float64() < a.Reorder {
		at += a.ReorderGap
	}
	return at, 0, true
}

// queue tells when a packet has been put on the link, if it is let in. An idle
// link takes any packet.
func (a *lane) queue(at time.Duration, size int) (sent time.Duration, ok bool) {
	took := a.sending(size)
	if waits := a.free - at; waits > 0 && waits+took > a.room {
		return 0, false
	}
	a.free = max(a.free, at) + took
	return a.free, true
}
