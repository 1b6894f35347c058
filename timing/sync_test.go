package timing

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// script is a source that gives one error or sample after the other, each
// after a second of virtual time.
type script struct {
	steps []error // nil is a sample
	asked []Instant
	limit int
	every time.Duration
}

func (s *script) Name() string { return "script" }

func (s *script) pace() (int, time.Duration) { return s.limit, s.every }

func (s *script) Sample(ctx context.Context) (Sample, error) {
	s.asked = append(s.asked, Now())
	if err := waitTimer(ctx, Now().Add(time.Second)); err != nil {
		return Sample{}, err
	}
	err := s.steps[min(len(s.asked), len(s.steps))-1]
	sample := sampleWith(ms, ms)
	sample.Destination = Now()
	return sample, err
}

func TestSyncAsksNoMoreThanItShould(t *testing.T) {
	silence := errors.New("no reply")
	for _, c := range []struct {
		name    string
		steps   []error
		samples int
		limit   int
		want    int
	}{
		{"all samples", []error{nil}, 8, 100, 8},
		{"one sample", []error{nil}, 1, 100, 1},
		{"a public server", []error{nil}, 8, 2, 2},
		{"a public server that loses one", []error{silence, nil}, 8, 2, 2},
		{"a second try", []error{silence, nil}, 1, 100, 2},
		{"silence", []error{silence}, 8, 100, 2},
		{"two losses", []error{nil, silence, nil, silence, nil}, 8, 100, 4},
		{"refusal", []error{nil, nil, &KissError{"RATE"}}, 8, 100, 3},
		{"no time", []error{ErrUnsynchronised}, 8, 100, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{steps: c.steps, limit: c.limit, every: 2 * time.Second}
			Sync(t.Context(), NewClock(0, 0), []Source{s}, c.samples, 10*ms)
			if len(s.asked) != c.want {
				t.Errorf("%s: asked %d times, want %d", c.name, len(s.asked), c.want)
			}
			for i := 1; i < len(s.asked); i++ {
				if d := s.asked[i].Sub(s.asked[i-1]); d < 3*time.Second {
					t.Errorf("%s: asked again after %v, want 2s after the answer", c.name, d)
				}
			}
		})
	}
}

func TestSyncAsksInParallelAndEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3500*ms)
		defer cancel()
		sources := []Source{&script{steps: []error{nil}, limit: 100}, &script{steps: []error{nil}, limit: 100}}
		begin := time.Now()
		e, err := Sync(ctx, NewClock(0, 0), sources, 100, ms)
		if d := time.Since(begin); d != 3500*ms {
			t.Errorf("took %v, want 3.5s", d)
		}
		// What was measured until then counts.
		if err != nil || e.Servers[0].Samples != 3 || e.Servers[1].Samples != 3 {
			t.Errorf("got %v and %+v, want 3 samples of each", err, e.Servers)
		}
	})
}

func TestSyncWithoutAnyAnswerWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Sync(ctx, NewClock(0, 0), []Source{&script{steps: []error{nil}}}, 8, ms)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
