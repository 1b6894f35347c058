package punch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

var errBudget = errors.New("the SYN budget is spent")

// followAll runs follow for each runner and hands over those that stand. The
// channel closes when all have ended.
func (m *meeting) followAll(ctx context.Context, p plan, runners []*runner) <-chan *runner {
	standing := make(chan *runner, len(runners))
	var all sync.WaitGroup
	for _, r := range runners {
		all.Go(func() {
			r.failure = m.follow(ctx, p, r)
			if r.failure == nil {
				m.stands.Store(true)
				if r.stood == 0 {
					r.stood = timing.Now()
				}
				standing <- r
			}
		})
	}
	go func() {
		all.Wait()
		close(standing)
	}()
	return standing
}

// follow carries out a pair's round. Spare ports begin with the second one.
func (m *meeting) follow(ctx context.Context, p plan, r *runner) error {
	switch {
	case r.round == 2:
		if err := m.lowTTL(ctx, p, r); err != nil || r.stands {
			return err
		}
	case p.strategy == rendezvous.LowTTLs && r.failure == nil:
		if err := m.inEarnest(ctx, p, r, p.at.Add(m.cfg.Late)); err != nil || r.stands {
			return err
		}
	case p.strategy == rendezvous.Crafted:
		return m.followCrafted(ctx, p, r, p.at.Add(m.cfg.Late))
	}
	var pad Launchpad // prepared with the first retry
	defer func() {
		if pad != nil {
			pad.Close()
		}
	}()
	prepared := func() Launchpad {
		if pad == nil {
			pad = m.cfg.Network.Launchpad(retryLead)
		}
		return pad
	}
	if r.round == 2 && m.mayCraft(p) {
		return m.retryThenCraft(ctx, p, r, prepared)
	}
	return m.retry(ctx, p, r, prepared)
}

// retry waits for the runner's connection and connects again from the same
// port when it is refused, until retries or budget are spent. Its error is then
// that of the last attempt.
func (m *meeting) retry(ctx context.Context, p plan, r *runner, pad func() Launchpad) error {
	for r.failure == nil {
		err := m.awaitAttempt(ctx, p, r)
		m.settle(p, r, err)
		if !refused(err) || r.tries >= m.cfg.Retries || m.stands.Load() || ctx.Err() != nil {
			return err
		}
		if m.left(r) < 1+r.options.SYNCount {
			return fmt.Errorf("%w: %w", errBudget, err)
		}
		r.tries++
		if err := m.fire(ctx, p, pad(), p.retryAt(timing.Now(), r.tries-1), r); err != nil {
			return err
		}
	}
	return r.failure
}

// awaitOutcome waits for the outcome of the SYN that is under way, and withdraws it
// before the kernel repeats it once more than the budget allows. TCP_SYNCNT does not
// do that: it cannot be 0, and since Linux 6.5 the repetitions of
// tcp_syn_linear_timeouts come on top.
func (m *meeting) awaitOutcome(ctx context.Context, p plan, r *runner) error {
	for until := m.affords(p, r); until > timing.Now(); until = m.affords(p, r) {
		soon, cancel := context.WithTimeout(ctx, until.Sub(timing.Now()))
		err := r.socket.Wait(soon)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
	r.socket.Close()
	return fmt.Errorf("%w: %w", errBudget, context.DeadlineExceeded)
}

// affords is until when the budget surely lasts for the repetitions of the runner's
// newest SYN: the first one comes a second after it, and no two within one.
func (m *meeting) affords(p plan, r *runner) timing.Instant {
	left := time.Duration(max(0, m.left(r))) * time.Second
	return max(m.leftAt(p, p.at, r).Add(left+beforeRetransmission), timing.Now().Add(left-time.Second+beforeRetransmission))
}

// beforeRetransmission is less than the initial retransmission time-out of 1 s
// (RFC 6298 section 2).
const beforeRetransmission = 900 * time.Millisecond

// left is how many SYNs the runner may still send.
func (m *meeting) left(r *runner) int {
	called, retransmitted := r.socket.SYNs()
	return r.pair.SYNs - r.sent - called - retransmitted
}

// awaitAttempt waits for the outcome of one attempt. An immune socket becomes an
// ordinary one after a while: if something on the path rewrites the TTL, or
// resets in the network's name, immunity does harm.
func (m *meeting) awaitAttempt(ctx context.Context, p plan, r *runner) error {
	if r.options.MinTTL == 0 || r.round != 1 {
		return m.awaitOutcome(ctx, p, r)
	}
	soon, cancel := context.WithTimeout(ctx, max(0, p.at.Add(m.cfg.Late+immuneFor).Sub(timing.Now())))
	defer cancel()
	err := r.socket.Wait(soon)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return err
	}
	r.options.TTL, r.options.MinTTL = 0, 0
	if err := r.socket.Set(r.options); err != nil {
		return err
	}
	return m.awaitOutcome(ctx, p, r)
}

// immuneFor leaves a peer that is late by half a second its chance, and ends
// well before the kernel repeats the SYN after a second.
const immuneFor = 700 * time.Millisecond
