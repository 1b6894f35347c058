package timing

import (
	"testing"
	"testing/synctest"
	"time"
)

// fakeClocks is a pair of clocks that a test moves by hand.
type fakeClocks struct{ reading }

// awake is a machine that was never suspended.
func awake() time.Duration { return 0 }

func (f *fakeClocks) read() reading { return f.reading }

func (f *fakeClocks) advance(d time.Duration) {
	f.mono, f.wall = f.mono.Add(d), f.wall.Add(d)
}

func TestClockRunsWithTheInjectedErrorAndDrift(t *testing.T) {
	f := &fakeClocks{reading{mono: 5_000, wall: at(0)}}
	c := newClock(-time.Hour, 100, f.read, awake)
	if got, want := c.At(5_000), at(-time.Hour); !got.Equal(want) {
		t.Errorf("at the start: got %v, want %v", got, want)
	}
	// 100 ppm of 10 s are 1 ms.
	if got, want := c.At(Instant(5_000).Add(10*time.Second)), at(-time.Hour+10*time.Second+ms); !got.Equal(want) {
		t.Errorf("after 10 s: got %v, want %v", got, want)
	}
}

func TestInstantOfALocalTimeIsTheInverseOfAt(t *testing.T) {
	for _, drift := range []float64{0, 100, -500, 50_000} {
		c := NewClock(time.Hour, drift)
		for _, d := range []time.Duration{-time.Hour, 0, time.Second, 24 * time.Hour} {
			want := Now().Add(d)
			if got := c.Instant(c.At(want)); got.Sub(want).Abs() > 20 {
				t.Errorf("drift %v ppm, %v ahead: got %v off", drift, d, got.Sub(want))
			}
		}
	}
}

func TestStepOfTheWallClockIsSeenAndDoesNotMoveTheTimescale(t *testing.T) {
	f := &fakeClocks{reading{mono: 5_000, wall: at(0)}}
	c := newClock(0, 0, f.read, awake)
	f.advance(time.Second)
	before := c.At(f.mono)
	if c.Step() != 0 || c.stepped() {
		t.Errorf("without a step: got %v, %v", c.Step(), c.stepped())
	}
	f.wall = f.wall.Add(-42 * ms)
	if got := c.Step(); got != -42*ms || !c.stepped() {
		t.Errorf("step: got %v, %v, want -42ms, true", got, c.stepped())
	}
	if got := c.At(f.mono); !got.Equal(before) {
		t.Errorf("timescale moved: got %v, want %v", got, before)
	}
}

func TestSlewIsNoStep(t *testing.T) {
	f := &fakeClocks{reading{mono: 0, wall: at(0)}}
	c := newClock(0, 0, f.read, awake)
	f.advance(100 * time.Second)
	f.wall = f.wall.Add(900*us + maxSlewPPM*100*us)
	if c.stepped() {
		t.Error("an adjustment of the rate is called a step")
	}
	if d := c.Check(); d.Any() {
		t.Errorf("an adjustment of the rate is called %v", d)
	}
}

func TestClockFollowsTheWallClock(t *testing.T) {
	c := NewClock(0, 0)
	if d := time.Until(c.Now()).Abs(); d > 100*ms {
		t.Errorf("off by %v", d)
	}
	synctest.Test(t, func(t *testing.T) {
		c := NewClock(0, 0)
		time.Sleep(time.Hour)
		if got := c.Now(); !got.Equal(time.Now()) {
			t.Errorf("after an hour: got %v, want %v", got, time.Now())
		}
	})
}
