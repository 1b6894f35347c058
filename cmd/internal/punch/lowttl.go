package punch

import (
	"context"
	"errors"
	"time"

	"tcppunch/timing"
)

// lowTTLAt is when the low-ttl round begins: after some twenty retries on a
// short path, and after several round trips on a long one.
func (p plan) lowTTLAt() timing.Instant {
	return p.at.Add(60*time.Millisecond + 4*p.delay)
}

// lowTTLGap is how long after that the real SYN follows: when the other side's
// first one has surely left, however far the clocks are apart and however busy
// that machine is, and when what the network says about the dying SYN is heard.
func (p plan) lowTTLGap() time.Duration {
	if p.likely == 0 {
		return 300 * time.Millisecond
	}
	return 20*time.Millisecond + 2*p.likely + p.delay/2
}

// lowTTLSlack is how long before that the waiting side must hear the other one,
// whose instant may lie so much earlier, and this side's thread wake so much
// later. Until then it is deaf to the ICMP error about its own dying SYN, which
// would end the attempt.
func (p plan) lowTTLSlack() time.Duration {
	if p.likely == 0 {
		return p.lowTTLGap() / 2
	}
	return 5*time.Millisecond + 2*p.likely
}

// lowTTL takes timing out of the game. Both sides send a SYN that opens their
// own NAT and dies before the peer's, so that no NAT answers it with a reset.
// When both NATs are open, one side replaces its socket and connects in
// earnest; the other side's socket, still in SYN-SENT, answers. It goes from a
// port of its own, since a NAT may hold the first one shut: Linux, for one,
// remembers for 10 s a SYN that it reset itself, and moves the mapping.
//
// Replacing a socket in SYN-SENT is safe here, because its SYN cannot have
// reached the peer; and only one side does, so that no second initial sequence
// number meets the first. Linux's connection tracking takes a new one in
// SYN-SENT.
func (m *meeting) lowTTL(ctx context.Context, p plan, r *runner) error {
	if err := m.fireOnce(ctx, p, p.lowTTLAt(), r); err != nil {
		return err
	}
	return m.inEarnest(ctx, p, r, p.lowTTLAt())
}

// fireOnce leaves the processors alone until shortly before the instant: by then
// another round may have connected.
func (m *meeting) fireOnce(ctx context.Context, p plan, at timing.Instant, r *runner) error {
	if err := rest(ctx, at.Add(-padTakes)); err != nil {
		return err
	}
	pad := m.cfg.Network.Launchpad(launchLead)
	return errors.Join(m.fire(ctx, p, pad, at, r), pad.Close())
}

// padTakes is how long before an instant a thread begins to prepare for it.
const padTakes = 40 * time.Millisecond

// awaitQuiet waits until an instant by which nothing should have happened. An
// answer that comes all the same ends the round.
func (m *meeting) awaitQuiet(ctx context.Context, p plan, r *runner, until timing.Instant) error {
	soon, cancel := context.WithTimeout(ctx, until.Sub(timing.Now()))
	defer cancel()
	err := r.socket.Wait(soon)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	m.settle(p, r, err)
	r.stands = err == nil
	return err
}

// replace closes the socket and prepares another one at the same port.
func (m *meeting) replace(r *runner) error {
	local := r.socket.Local()
	m.retire(r)
	socket, err := m.cfg.Network.Open(local, r.options)
	if err != nil {
		return err
	}
	r.socket = socket
	return nil
}
