package probe

import (
	"context"
	"errors"
	"sync"
	"time"

	"tcppunch/predict"
)

// Incoming are the tests by dial-back under way, for a caller that observes its
// mappings itself and cannot wait: what they have found can be asked at any time.
type Incoming struct {
	run    *run
	cancel context.CancelFunc
	work   sync.WaitGroup
	tested chan struct{} // closed when all is over but the wait for an answer to an unsolicited SYN
}

// StartIncoming begins the tests of how the NAT treats SYNs from outside, each
// with local ports of its own. cfg.Back is needed; Brief and Mappings mean nothing.
// The caller must call Close.
func StartIncoming(ctx context.Context, cfg Config) *Incoming {
	ctx, cancel := context.WithCancel(ctx)
	i := &Incoming{run: newRun(cfg), cancel: cancel, tested: make(chan struct{})}
	i.run.incoming = true
	var tests sync.WaitGroup
	tests.Go(func() { i.run.testCrossing(ctx) })
	tests.Go(func() { i.run.testReset(ctx, func() {}) })
	i.work.Go(func() { i.run.testFilter(ctx) })
	i.work.Go(func() {
		tests.Wait()
		<-i.run.filter.judged
		close(i.tested)
	})
	return i
}

var errHushed = errors.New("there was no time for another SYN")

// Hush waits until the tests are over or ctx is, and sees to it that no SYN of
// theirs leaves afterwards, which would take a port of the NAT's. What has left
// is still waited for.
func (i *Incoming) Hush(ctx context.Context) {
	select {
	case <-i.tested:
	case <-ctx.Done():
	}
	i.run.sending.Lock()
	defer i.run.sending.Unlock()
	i.run.hushed = true
}

// Report says what is known by now of a NAT that behaves like b otherwise: the
// filtering, what is Inbound, and why not more. The rest is empty.
func (i *Incoming) Report(b predict.Behavior) Report {
	r := i.run
	r.mu.Lock()
	defer r.mu.Unlock()
	rep := Report{Translated: b.Translated, Mapping: b.Mapping, Unknown: []Unknown{}}
	r.judge(&rep, time.Now())
	r.nameInbound(&rep)
	return rep
}

// SYNs is how many connections this host has begun.
func (i *Incoming) SYNs() int { return int(i.run.own.Load()) }

// Close ends the tests.
func (i *Incoming) Close() {
	i.cancel()
	i.work.Wait()
	i.run.close()
}

// unfinished is the reason where a test is still under way.
const unfinished = "the test was not over in time"
