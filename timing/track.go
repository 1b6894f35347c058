package timing

import (
	"context"
	"sync"
	"time"
)

// Track is a running estimate. Each Update asks every source once and judges
// what the last eight answers of each say, as the clock filter of RFC 5905
// section 10 does: an old sample gives way as its bound grows by PHI. The
// frequency comes from up to 256 samples. Public servers are asked every 64 s
// at most. It is not safe for concurrent use.
type Track struct {
	clock   *Clock
	tracked []tracked
}

// filterStages is NSTAGE of RFC 5905 section 7.2; frequencyStages bounds what
// a long run holds.
const (
	filterStages    = 8
	frequencyStages = 256
)

// publicPoll is the usual shortest poll interval of NTP clients, 2^6 s.
const publicPoll = 64 * time.Second

type tracked struct {
	source  Source
	history []Sample
	err     error   // of the last request
	asked   Instant // last
	times   int     // asked
}

// NewTrack starts without any sample.
func NewTrack(clock *Clock, sources []Source) *Track {
	t := &Track{clock: clock}
	for _, s := range sources {
		t.tracked = append(t.tracked, tracked{source: s})
	}
	return t
}

// Update asks the sources that may be asked again and estimates. Disturbed
// says what befell the clocks since the last Update; a suspension ends what
// was known. Errors are those of Sync; the next Update may do better.
func (t *Track) Update(ctx context.Context) (e Estimate, disturbed Disturbance, err error) {
	disturbed = t.clock.Check()
	t.clock.Mark()
	if disturbed.Suspend != 0 {
		t.forget()
	}
	var all sync.WaitGroup
	for i := range t.tracked {
		all.Go(func() { t.tracked[i].ask(ctx) })
	}
	all.Wait()
	if ctx.Err() != nil {
		return Estimate{}, disturbed, ctx.Err()
	}
	e, err = judge(t.answers(), Now())
	e.Stepped = t.clock.stepped()
	if err == nil {
		e.FrequencyPPM = t.frequency(e)
	}
	return e, disturbed, err
}

func (t *Track) forget() {
	for i := range t.tracked {
		t.tracked[i].history = nil
	}
}

// answers are the filters' contents. An error counts where nothing else is
// known, and a refusal always.
func (t *Track) answers() []answer {
	var list []answer
	for _, s := range t.tracked {
		filter := s.history[max(0, len(s.history)-filterStages):]
		list = append(list, answer{name: s.source.Name(), samples: filter, err: s.err, leap: leapOf(s.source)})
	}
	return list
}

// frequency is that against the nearest truechimer for which it is known.
func (t *Track) frequency(e Estimate) *float64 {
	var best *float64
	var nearest time.Duration
	for i, s := range e.Servers {
		if s.Verdict != Truechimer || best != nil && *s.RootDistance >= nearest {
			continue
		}
		if f := frequency(t.tracked[i].history); f != nil {
			best, nearest = f, *s.RootDistance
		}
	}
	return best
}

func (s *tracked) ask(ctx context.Context) {
	if s.times > 0 && s.spared() {
		return
	}
	s.times++
	s.asked = Now()
	sample, err := s.source.Sample(ctx)
	s.err = err
	if err == nil {
		s.history = append(s.history[max(0, len(s.history)-frequencyStages+1):], sample)
	}
}

// spared reports whether a public server was asked not long enough ago: the
// second time after the spacing that a burst needs, from then on seldom.
func (s *tracked) spared() bool {
	p, ok := s.source.(paced)
	if !ok {
		return false
	}
	limit, spacing := p.pace()
	if s.times >= limit {
		spacing = publicPoll
	}
	return Now().Sub(s.asked) < spacing
}
