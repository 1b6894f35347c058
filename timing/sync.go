package timing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Errors of Sync and of sources; they are wrapped with the servers' names.
var (
	ErrNoAnswer       = errors.New("no time server answered")
	ErrNoMajority     = errors.New("the time servers contradict each other")
	ErrUnsynchronised = errors.New("the server says that it does not know the time")
)

// KissError is a kiss-o'-death of RFC 5905 section 7.4: the server wants fewer
// requests (RATE) or none (DENY, RSTR).
type KissError struct{ Code string }

func (e *KissError) Error() string {
	return "the server refuses with the kiss-o'-death " + e.Code
}

// paced is a source that allows less than Sync wants, as it knows after the
// first sample.
type paced interface {
	pace() (samples int, spacing time.Duration)
}

// Sync asks all sources in parallel, each for a number of samples that far
// apart, and judges them: of each server the quickest request and the quickest
// reply count, the intersection of RFC 5905 section 11.2.1 names the
// falsetickers, and the rest are combined. Where queues hide the offset it
// takes up to four times as many samples, for a second at most; of public
// servers never more than two. The servers stand in the estimate in the order
// of the sources, also with an error, which wraps ErrNoAnswer, ErrNoMajority or
// the error of ctx.
//
// What was measured before a suspension of the machine is worth nothing: Sync
// starts again, once.
func Sync(ctx context.Context, clock *Clock, sources []Source, samples int, spacing time.Duration) (Estimate, error) {
	answers := askAll(ctx, clock, sources, samples, spacing)
	if clock.Check().Suspend != 0 {
		answers = askAll(ctx, clock, sources, samples, spacing)
	}
	e, err := judge(answers, Now())
	e.Stepped = clock.stepped()
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	}
	return e, err
}

// askAll asks in parallel; disturbances of the clock count from its beginning.
func askAll(ctx context.Context, clock *Clock, sources []Source, samples int, spacing time.Duration) []answer {
	clock.Mark()
	answers := make([]answer, len(sources))
	var all sync.WaitGroup
	for i, s := range sources {
		all.Go(func() {
			answers[i] = ask(ctx, s, max(samples, 1), spacing)
			answers[i].leap = leapOf(s)
		})
	}
	all.Wait()
	return answers
}

// answer is what one source gave.
type answer struct {
	name    string
	samples []Sample
	err     error     // why it gave no more
	leap    leapStyle // what it does with leap seconds
}

// leaper is a source that knows what its server does with leap seconds, after
// the first sample at the latest.
type leaper interface {
	leap() leapStyle
}

func leapOf(s Source) leapStyle {
	if l, ok := s.(leaper); ok {
		return l.leap()
	}
	return leapUnknown
}

// lossesAllowed is how many requests of a server may stay unanswered before it
// is given up.
const lossesAllowed = 2

func ask(ctx context.Context, s Source, samples int, spacing time.Duration) answer {
	a := answer{name: s.Name()}
	for asked, lost := 1, 0; ; asked++ {
		sample, err := s.Sample(ctx)
		if err == nil {
			a.samples = append(a.samples, sample)
		} else {
			a.err = err
			lost++
		}
		if final(err) || lost == lossesAllowed {
			return a
		}
		limit := moreSamples * samples
		if p, ok := s.(paced); ok {
			n, d := p.pace()
			samples, limit, spacing = min(samples, n), min(limit, n), max(spacing, d)
		}
		if asked >= samples && (len(a.samples) > 0 || asked >= lossesAllowed) && (asked >= limit || !worthMore(a.samples)) {
			return a
		}
		if err := waitTimer(ctx, Now().Add(spacing)); err != nil {
			a.err = err
			return a
		}
	}
}

// Where what is left of the waiting outweighs what more samples cannot mend, a
// server is asked up to moreSamples times as often, for moreTime in all.
const (
	moreSamples = 4
	moreTime    = time.Second
)

// worthMore reports whether the samples' waiting hides more of the offset than
// a quarter of what the path's asymmetry and the hosts' handling do.
func worthMore(samples []Sample) bool {
	if len(samples) < 2 {
		return false
	}
	last := samples[len(samples)-1].Destination
	f := filter(samples, last)
	delay := 2 * f.bound
	return last.Sub(samples[0].Destination) < moreTime && 4*waiting(samples, delay) > delay/asymmetryShare+waking
}

// final tells errors after which a server must not be asked again.
func final(err error) bool {
	var kiss *KissError
	return errors.As(err, &kiss) || errors.Is(err, ErrUnsynchronised) || errors.Is(err, context.Canceled)
}

// noAnswer names each server and why.
func noAnswer(answers []answer) error {
	var reasons []string
	for _, a := range answers {
		reasons = append(reasons, fmt.Sprintf("%s: %v", a.name, a.err))
	}
	if reasons == nil {
		reasons = []string{"none was named"}
	}
	return fmt.Errorf("%w: %s", ErrNoAnswer, strings.Join(reasons, "; "))
}
