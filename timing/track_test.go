package timing

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// driftingServer gains 40 ppm on this machine; its path is asymmetric and has
// queues.
func driftingServer(begin Instant, r *rand.Rand) Source {
	return sourceFunc(func(context.Context) (Sample, error) {
		offset := 5*ms + Now().Sub(begin)*40/1e6
		there, back := 12*ms+time.Duration(r.ExpFloat64()*float64(ms)), 8*ms+time.Duration(r.ExpFloat64()*float64(ms))
		return Sample{T1: at(0), T2: at(there + offset), T3: at(there + offset), T4: at(there + back), Destination: Now(), Stratum: 1}, nil
	})
}

func TestTrackLearnsTheFrequency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seed = 7
		begin := Now()
		track := NewTrack(NewClock(0, 0), []Source{driftingServer(begin, rand.New(rand.NewPCG(seed, 0)))})
		var e Estimate
		for i := range 200 {
			var err error
			if e, _, err = track.Update(t.Context()); err != nil {
				t.Fatal(err)
			}
			if i < 3 && e.FrequencyPPM != nil {
				t.Errorf("after %d s: got %v ppm, want unknown", i, *e.FrequencyPPM)
			}
			truth := 5*ms + Now().Sub(begin)*40/1e6
			if off := (e.Offset - truth).Abs(); off > e.Bound+time.Duration(filterStages)*40*us {
				t.Errorf("seed %d, after %d s: %v off, bound %v", seed, i, off, e.Bound)
			}
			time.Sleep(time.Second)
		}
		if e.FrequencyPPM == nil || math.Abs(*e.FrequencyPPM-40) > 10 {
			t.Errorf("seed %d: got %v, want 40 ppm", seed, e.FrequencyPPM)
		}
		if e.Servers[0].Samples != filterStages {
			t.Errorf("the filter holds %d samples, want %d", e.Servers[0].Samples, filterStages)
		}
	})
}

func TestTrackStartsAgainAfterASuspension(t *testing.T) {
	clock := NewClock(0, 0)
	track := NewTrack(clock, []Source{sourceFunc(func(context.Context) (Sample, error) {
		s := sampleWith(ms, ms)
		s.Destination = Now()
		return s, nil
	})})
	for range 3 {
		track.Update(t.Context())
	}
	clock.Disturb(Disturbance{Suspend: time.Second})
	e, disturbed, err := track.Update(t.Context())
	if err != nil || disturbed.Suspend < 900*ms || e.Servers[0].Samples != 1 {
		t.Errorf("got %v, %v, %d samples; want a suspension of 1s and a single sample since", err, disturbed, e.Servers[0].Samples)
	}
}

func TestTrackSparesPublicServers(t *testing.T) {
	for name, err := range map[string]error{"that answer": nil, "that are silent": errors.New("no reply")} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{steps: []error{err}, limit: 2, every: 2 * time.Second}
			track := NewTrack(NewClock(0, 0), []Source{s})
			for range 200 {
				track.Update(t.Context())
				time.Sleep(time.Second)
			}
			// Twice at the beginning, then every 64 s of some 204 s.
			if len(s.asked) != 5 {
				t.Errorf("%s: asked %d times, want 5", name, len(s.asked))
			}
		})
	}
}

func TestTrackOutlivesLossesAndEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silence := errors.New("no reply")
		track := NewTrack(NewClock(0, 0), []Source{&script{steps: []error{silence, nil, silence}, limit: 100}})
		if _, _, err := track.Update(t.Context()); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("without an answer: got %v, want %v", err, ErrNoAnswer)
		}
		for range 2 {
			if e, _, err := track.Update(t.Context()); err != nil || e.Servers[0].Samples != 1 {
				t.Errorf("with one answer: got %v, %+v", err, e)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*ms)
		defer cancel()
		if _, _, err := track.Update(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

func TestFrequencyNeedsNoCertainBoundsWhenManySamplesAgree(t *testing.T) {
	var samples []Sample
	for i := range 60 {
		s := sampleWith(time.Duration(i)*10*us, 20*ms)
		s.Destination = Instant(i) * Instant(time.Second)
		samples = append(samples, s)
	}
	if got := frequency(samples); got == nil || math.Abs(*got-10) > .01 {
		t.Errorf("got %v, want 10 ppm", got)
	}
	samples[30] = sampleWith(80*ms, 180*ms) // held up for 160 ms
	samples[30].Destination = Instant(30 * time.Second)
	if got := frequency(samples); got == nil || math.Abs(*got-10) > .1 {
		t.Errorf("with one sample held up: got %v, want 10 ppm", got)
	}
}
