package punch

import (
	"context"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// craftedPatience is how long a low-ttl round waits for an answer before it goes
// on with a crafted one: until the kernel has repeated its SYN after a second.
// Where both NATs are known to refuse what the round is waiting for it is shorter.
const (
	craftedPatience = 1200 * time.Millisecond
	deniedPatience  = 20 * time.Millisecond
)

// mayCraft: nobody has chosen a strategy, and both sides may craft and know the
// other's number.
func (m *meeting) mayCraft(p plan) bool {
	return p.strategy == rendezvous.Auto && m.opening != nil && p.peerOpening != nil
}

// craftedAt is when the third round begins.
func (p plan) craftedAt() timing.Instant {
	patience := craftedPatience
	if p.denied {
		patience = deniedPatience
	}
	return p.lowTTLAt().Add(p.lowTTLGap() + patience + 2*p.delay)
}

// retryThenCraft retries the low-ttl round, and where that comes to nothing goes
// on with a crafted handshake on the same ports and with the same numbers, so
// that the NATs see the one connection that they have let out. It is for NATs
// that let no SYN in, whoever was called before, but do let a SYN-ACK in.
func (m *meeting) retryThenCraft(ctx context.Context, p plan, r *runner, pad func() Launchpad) error {
	soon, cancel := context.WithTimeout(ctx, p.craftedAt().Sub(timing.Now()))
	defer cancel()
	err := m.retry(soon, p, r, pad)
	if err == nil || ctx.Err() != nil || m.left(r) < 1 {
		return err
	}
	if err := rest(ctx, p.craftedAt().Add(-padTakes)); err != nil {
		return err
	}
	if m.stands.Load() { // another one, and this one came to nothing
		return err
	}
	socket, err := m.cfg.Network.Craft(r.socket.Local(), r.remote, Craft{TTL: m.dyingTTL(r.remote.Addr()), Own: m.opening, Peer: p.peerOpening})
	if err != nil {
		return err
	}
	m.retire(r) // not before, or the kernel would answer a SYN that comes now
	r.socket, r.round, r.before = socket, 3, r.sent
	if err := m.fireOnce(ctx, p, p.craftedAt(), r); err != nil {
		return err
	}
	return m.followCrafted(ctx, p, r, p.craftedAt())
}
