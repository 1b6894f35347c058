package netlab

import (
	"math/rand/v2"
	"testing"
	"time"
)

// crossing is what a lane did to a packet.
type crossing struct {
	at time.Duration
	c  cause
	ok bool
}

// through sends packets of one size at the given instants.
func through(l Link, size int, instants ...time.Duration) (all []crossing) {
	a := newLane(l, 1, 2)
	for _, at := range instants {
		arrival, c, ok := a.cross(at, size)
		all = append(all, crossing{arrival, c, ok})
	}
	return all
}

func equal(t *testing.T, got []crossing, want ...crossing) {
	t.Helper()
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("packet %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
}

const ms = time.Millisecond

func TestAWireTakesNoTime(t *testing.T) {
	equal(t, through(Link{}, 1500, 5, 5, 7), crossing{5, 0, true}, crossing{5, 0, true}, crossing{7, 0, true})
}

func TestPacketsLeaveAtTheRate(t *testing.T) {
	// 1000 bytes at 8 Mbit/s take 1 ms; the last one finds the link idle again.
	got := through(Link{Rate: 8e6, Delay: 20 * ms}, 1000, 0, 0, ms/2, 50*ms)
	equal(t, got, crossing{21 * ms, 0, true}, crossing{22 * ms, 0, true}, crossing{23 * ms, 0, true}, crossing{71 * ms, 0, true})
}

func TestAFullQueueDropsFromTheTail(t *testing.T) {
	full := crossing{0, causeQueueFull, false}
	got := through(Link{Rate: 8e6, Queue: 2500}, 1000, 0, 0, 0, ms/2, ms/2)
	equal(t, got, crossing{ms, 0, true}, crossing{2 * ms, 0, true}, full, crossing{3 * ms, 0, true}, full)
}

func TestAnIdleLinkTakesAPacketLargerThanItsQueue(t *testing.T) {
	got := through(Link{Rate: 8e6, Queue: 10}, 1000, 0, ms/2, ms)
	equal(t, got, crossing{ms, 0, true}, crossing{0, causeQueueFull, false}, crossing{2 * ms, 0, true})
}

func TestTheDefaultQueueTakesATenthOfASecond(t *testing.T) {
	for _, rate := range []int64{1e5, 1e6, 1e9} {
		a := newLane(Link{Rate: rate}, 1, 2)
		var last time.Duration
		for {
			arrival, _, ok := a.cross(0, 100)
			if !ok {
				break
			}
			last = arrival
		}
		if last > DefaultQueue || last < DefaultQueue-a.sending(100) {
			t.Errorf("%d bit/s: the last packet leaves after %v, want nearly %v", rate, last, DefaultQueue)
		}
	}
}

func TestAHeldPacketIsLateByTheGap(t *testing.T) {
	const packets = 10000
	for _, gap := range []time.Duration{0, 3 * ms} {
		a := newLane(Link{Delay: 5 * ms, Reorder: 0.25, ReorderGap: gap}, 3, 4)
		held := 0
		for range packets {
			at, _, _ := a.cross(ms, 100)
			switch late := at - 6*ms; {
			case late == 0:
			case late == gap, gap == 0 && late == DefaultReorderGap:
				held++
			default:
				t.Fatalf("a packet was held back by %v", late)
			}
		}
		if share := float64(held) / packets; share < 0.2 || share > 0.3 {
			t.Errorf("held back: got a share of %v, want about 0.25", share)
		}
	}
}

func TestJitterStaysInItsRange(t *testing.T) {
	a := newLane(Link{Delay: 2 * ms, Jitter: 3 * ms}, 5, 6)
	least, most := time.Hour, time.Duration(0)
	for range 10000 {
		at, _, _ := a.cross(ms, 100)
		least, most = min(least, at), max(most, at)
	}
	if least != ms || most > 6*ms || most < 5*ms {
		t.Errorf("got arrivals in [%v, %v], want from 1ms, since none comes before it was sent, to 6ms", least, most)
	}
}

func TestALostPacketUsesTheLink(t *testing.T) {
	a := newLane(Link{Rate: 8e6, Loss: 1}, 7, 8)
	for range 2 {
		if _, c, ok := a.cross(0, 1000); ok || c != causeLost {
			t.Fatalf("got %v, %v, want it lost", c, ok)
		}
	}
	if a.free != 2*ms {
		t.Errorf("the link is free at %v, want 2ms", a.free)
	}
}

func TestAQueueNeverSendsFasterThanTheRate(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	a := newLane(Link{Rate: 10e6, Queue: 20000}, 9, 10)
	var now, busy time.Duration
	for range 10000 {
		now += time.Duration(r.IntN(int(ms)))
		size := 40 + r.IntN(1460)
		took := a.sending(size)
		before := a.free
		arrival, _, ok := a.cross(now, size)
		if !ok {
			if before-now+took <= a.room {
				t.Fatalf("dropped with %v waiting, though %v has room", before-now, a.room)
			}
			continue
		}
		if arrival < max(before, now)+took {
			t.Fatalf("sent by %v, want at least %v", arrival, max(before, now)+took)
		}
		busy += took
	}
	if busy > a.free {
		t.Errorf("sent for %v within %v", busy, a.free)
	}
}

func TestImpossibleLinksAreRefused(t *testing.T) {
	for _, l := range []Link{
		{Delay: -1}, {Jitter: -1}, {ReorderGap: -1}, {Delay: 2 * time.Hour}, {Loss: 1.1}, {Loss: -0.1},
		{Reorder: 2}, {Rate: -1}, {Queue: -1}, {Rate: 1},
	} {
		if l.check() == nil {
			t.Errorf("%+v: got no error", l)
		}
	}
	if err := (Link{Delay: time.Hour, Jitter: ms, Loss: 1, Reorder: 1, Rate: 1e12, Queue: 1}).check(); err != nil {
		t.Error(err)
	}
}

func TestALimiterAllowsABurstAndThenItsRate(t *testing.T) {
	const interval = ms // 1000 per second, burst 50
	var l limiter
	allowed := func(at time.Duration) (n int) {
		for l.allow(at, interval) {
			n++
		}
		return n
	}
	for _, x := range []struct {
		at   time.Duration
		want int
	}{{0, 50}, {ms / 2, 0}, {ms, 1}, {11 * ms, 10}, {time.Hour, 50}} {
		if got := allowed(x.at); got != x.want {
			t.Errorf("at %v: got %d allowed, want %d", x.at, got, x.want)
		}
	}
	var slow limiter
	if !slow.allow(0, time.Second) || slow.allow(ms, time.Second) || !slow.allow(time.Second, time.Second) {
		t.Error("a limit of one per second does not allow exactly one per second")
	}
}
