package punch

import (
	"context"
	"errors"
	"syscall"

	"tcppunch/timing"
)

// fire lets one SYN of each runner leave at an instant, in their order, and
// writes the attempts down.
func (m *meeting) fire(ctx context.Context, p plan, pad Launchpad, at timing.Instant, runners ...*runner) error {
	shots := make([]Shot, len(runners))
	for i, r := range runners {
		shots[i] = Shot{Socket: r.socket, Remote: r.remote}
	}
	fired, err := pad.Launch(ctx, at, shots)
	if err != nil {
		return err
	}
	m.attempts.Lock()
	defer m.attempts.Unlock()
	for i, r := range runners {
		a := Attempt{Round: r.round, Local: r.socket.Local(), Remote: r.remote, Called: fired[i].Called.Sub(p.at)}
		if r.failure = fired[i].Err; r.failure != nil {
			a.Outcome, a.Error, a.Ended = NotSent, r.failure.Error(), a.Called
		}
		r.last = len(m.report.Attempts)
		m.report.Attempts = append(m.report.Attempts, a)
	}
	return nil
}

// settle writes down how a runner's newest attempt ended.
func (m *meeting) settle(p plan, r *runner, err error) {
	m.attempts.Lock()
	defer m.attempts.Unlock()
	a := &m.report.Attempts[r.last]
	a.Ended, a.Outcome = timing.Now().Sub(p.at), outcomeOf(err)
	if err != nil && a.Outcome != Abandoned && a.Outcome != Unanswered {
		a.Error = err.Error()
	}
}

func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Stood
	case refused(err):
		return WasRefused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return Unanswered
	case errors.Is(err, context.Canceled):
		return Abandoned
	}
	return Unreachable
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func (m *meeting) outcomes() map[Outcome]int {
	n := map[Outcome]int{}
	for _, a := range m.report.Attempts {
		n[a.Outcome]++
	}
	return n
}
