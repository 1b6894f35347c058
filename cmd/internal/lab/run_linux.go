package lab

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

var errHung = errors.New("a node hung")

// reruns is how many invalid trials are made up for: as many as were asked
// for, so that a busy machine ends too.
func reruns(trials int) int { return max(trials, 3) }

// Run lets the two clients meet as often as the configuration says, each time
// in a network of its own. It must be called in the supervisor. done, if not
// nil, is told of every trial that has ended, in any order.
func Run(ctx context.Context, c Config, done func(Trial)) (Document, error) {
	c.Trials, c.Parallel = max(c.Trials, 1), max(c.Parallel, 1)
	r := &runner{config: c, done: done, spare: reruns(c.Trials)}
	ctx, r.stop = context.WithCancel(ctx)
	defer r.stop()
	r.results = make([][]Trial, c.Trials)
	slots := make(chan struct{}, c.Parallel)
	var all sync.WaitGroup
	for i := range c.Trials {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			r.untilValid(ctx, i)
		})
	}
	all.Wait()
	return r.document()
}

type runner struct {
	config Config
	stop   context.CancelFunc
	done   func(Trial)

	mu      sync.Mutex
	number  int // of trials begun
	spare   int // reruns left
	results [][]Trial
	err     error
}

// untilValid runs one trial, and again while this machine was too slow for it.
func (r *runner) untilValid(ctx context.Context, i int) {
	for ctx.Err() == nil {
		t, err := r.once(ctx)
		r.mu.Lock()
		if err != nil {
			r.err = errors.Join(r.err, err)
			r.stop()
			r.mu.Unlock()
			return
		}
		r.results[i] = append(r.results[i], t)
		if r.done != nil {
			r.done(t)
		}
		again := !t.Valid && r.spare > 0
		if again {
			r.spare--
		}
		r.mu.Unlock()
		if !again {
			return
		}
	}
}

func (r *runner) once(ctx context.Context) (result Trial, err error) {
	r.mu.Lock()
	r.number++
	name := fmt.Sprintf("trial-%03d", r.number)
	r.mu.Unlock()
	err = withCell(ctx, r.config, name, func(c *cell) error {
		t, err := c.newTrial(ctx)
		if err != nil {
			return err
		}
		defer t.close()
		result, err = t.meet(ctx)
		return err
	})
	return result, err
}

func (r *runner) document() (Document, error) { return describe(r.config, r.results), r.err }

// describe puts the trials into a document, in the order in which they were
// asked for.
func describe(c Config, results [][]Trial) Document {
	d := Document{A: c.A.Name, B: c.B.Name, Transport: c.transport(), Delay: int64(c.Delay), SkewA: int64(c.SkewA), SkewB: int64(c.SkewB), Trials: []Trial{}}
	if !PlanNetwork(c.A, c.B, linkOf(c)).Wires() {
		d.Guard = int64(guard(c))
	}
	for _, list := range results {
		d.Trials = append(d.Trials, list...)
	}
	d.Summary = Summarize(d.Trials)
	return d
}
