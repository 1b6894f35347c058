package timing

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"
)

func TestWaitReturnsAtTheInstant(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var late []time.Duration
	for range 15 {
		target := Now().Add(25 * ms)
		if err := Wait(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		d := Now().Sub(target)
		if d < 0 {
			t.Fatalf("returned %v early", -d)
		}
		late = append(late, d)
	}
	slices.Sort(late)
	// The machine may be busy: the median is checked, and not tightly.
	if median := late[len(late)/2]; median > ms {
		t.Errorf("late by %v in the median of %v", median, late)
	}
}

func TestWaitReturnsAtOnceWhenPast(t *testing.T) {
	if err := Wait(t.Context(), Now().Add(-time.Second)); err != nil {
		t.Error(err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, 15 * ms, 1500 * time.Microsecond} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		begin := Now()
		go func() { done <- Wait(ctx, begin.Add(ahead)) }()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v ahead: got %v, want %v", ahead, err, context.Canceled)
		}
		if d := Now().Sub(begin); d > 500*ms {
			t.Errorf("%v ahead: cancellation took %v", ahead, d)
		}
	}
}

func TestPrecisionIsThatOfAClock(t *testing.T) {
	if got := Precision(); got <= 0 || got > 20*ms {
		t.Errorf("got %v, want some nanoseconds, at most the 16 ms of an old timer tick", got)
	}
}

func TestNowIsMonotonicAndRuns(t *testing.T) {
	a := Now()
	b := Now()
	if b < a {
		t.Errorf("went back by %v", a.Sub(b))
	}
}
