package timing

import (
	"context"
	"testing"
	"time"
)

func TestStepAndSuspensionAreToldApart(t *testing.T) {
	for _, c := range []struct {
		name               string
		wall, mono, asleep time.Duration // progress of each
		want               Disturbance
		says               string
	}{
		{"a quiet hour", time.Hour, time.Hour, 0, Disturbance{}, "nothing has disturbed the clocks"},
		{"some microseconds", time.Second + 20*us, time.Second, 20 * us, Disturbance{}, "nothing has disturbed the clocks"},
		{"set forward", time.Second + 500*ms, time.Second, 0, Disturbance{Step: 500 * ms}, "the wall clock was set 500ms forward"},
		{"set back", time.Second - 500*ms, time.Second, 0, Disturbance{Step: -500 * ms}, "the wall clock was set 500ms back"},
		{"suspended", time.Minute, time.Second, 59 * time.Second, Disturbance{Suspend: 59 * time.Second}, "the machine was suspended for 59s"},
		{"suspended and set", time.Minute + ms + ms, time.Second, 59 * time.Second, Disturbance{Step: 2 * ms, Suspend: 59 * time.Second},
			"the machine was suspended for 59s and the wall clock was set 2ms forward"},
	} {
		f := &fakeClocks{reading{mono: 5_000, wall: at(0)}}
		slept := 7 * time.Hour // before
		clock := newClock(time.Hour, 0, f.read, func() time.Duration { return slept })
		f.mono, f.wall, slept = f.mono.Add(c.mono), f.wall.Add(c.wall), slept+c.asleep
		if got := clock.Check(); got != c.want || got.String() != c.says || got.Any() != (c.want != Disturbance{}) {
			t.Errorf("%s: got %+v, %q, want %+v, %q", c.name, got, got, c.want, c.says)
		}
		clock.Mark()
		if got := clock.Check(); got.Any() {
			t.Errorf("%s: after a new mark: got %+v", c.name, got)
		}
	}
}

func TestInjectedDisturbanceIsSeen(t *testing.T) {
	c := NewClock(0, 0)
	if d := c.Check(); d.Any() {
		t.Fatalf("before: got %v", d)
	}
	i := Now()
	before := c.At(i)
	c.Disturb(Disturbance{Step: 500 * ms})
	if d := c.Check(); (d.Step-500*ms).Abs() > ms || d.Suspend != 0 || !c.At(i).Equal(before) {
		t.Errorf("step of 500ms: got %v, the timescale moved by %v", d, c.At(i).Sub(before))
	}
	c.Disturb(Disturbance{Suspend: time.Second})
	if d := c.Check(); (d.Step-500*ms).Abs() > ms || (d.Suspend-time.Second).Abs() > ms {
		t.Errorf("and a suspension of 1s: got %v", d)
	}
	if got := before.Sub(c.At(i)); got != time.Second {
		t.Errorf("the timescale lost %v in the suspension, want 1s", got)
	}
}

func TestSyncDoesNotOutliveASuspension(t *testing.T) {
	clock := NewClock(0, 0)
	clock.Disturb(Disturbance{Suspend: time.Minute}) // before the measurement: no harm
	asked := 0
	source := sourceFunc(func(context.Context) (Sample, error) {
		if asked++; asked == 2 {
			clock.Disturb(Disturbance{Suspend: time.Second})
		}
		s := sampleWith(time.Duration((asked-1)/3)*4*ms, ms) // 4 ms in the second round
		s.Destination = Now()
		return s, nil
	})
	e, err := Sync(t.Context(), clock, []Source{source}, 3, 0)
	if err != nil {
		t.Fatal(err)
	}
	if asked != 6 || e.Offset != 4*ms || clock.Check().Any() {
		t.Errorf("asked %d times, offset %v, %v; want a second round, 6 times, 4ms", asked, e.Offset, clock.Check())
	}
}

// sourceFunc is a source that one function answers for.
type sourceFunc func(context.Context) (Sample, error)

func (sourceFunc) Name() string                                 { return "source" }
func (f sourceFunc) Sample(ctx context.Context) (Sample, error) { return f(ctx) }

func BenchmarkCheck(b *testing.B) {
	c := NewClock(0, 0)
	for b.Loop() {
		c.Check()
	}
}
