package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// strategyOf is the one of a round, from 1. Where nothing else was agreed on the
// second round is low-ttl, from the spare port, and the third one crafted, from
// the same.
func (p plan) strategyOf(round int) rendezvous.Strategy {
	switch round {
	case 2:
		return rendezvous.LowTTLs
	case 3:
		return rendezvous.Crafted
	}
	if p.strategy == "" || p.strategy == rendezvous.Auto {
		return rendezvous.SimOpen
	}
	return p.strategy
}

// dies says that the first SYN of a round is not meant to reach the peer.
func (p plan) dies(round int) bool {
	switch p.strategyOf(round) {
	case rendezvous.LowTTLs, rendezvous.Crafted, rendezvous.FakeSYN:
		return true
	}
	return false
}

// listening says that connections from the peer are taken at the port of the
// punch.
func (p plan) listening() bool {
	return p.strategy == rendezvous.Listen || p.passive()
}

// passive: this side sends nothing and waits to be connected to.
func (p plan) passive() bool { return p.strategy == rendezvous.Reverse && p.listens }

// wantsToCraft finds out whether this host may craft segments, and how its SYN
// would look. It is an error only for the strategies that need it.
func (m *meeting) wantsToCraft() error {
	if m.overUDP() || m.cfg.Strategy != "" && m.cfg.Strategy != rendezvous.Auto && m.cfg.Strategy != rendezvous.LowTTLs && !m.cfg.Strategy.Crafts() {
		return nil
	}
	opening, err := m.cfg.Network.Opening(m.reached)
	if err == nil {
		m.opening = &opening
	}
	if m.cfg.Strategy.Crafts() {
		return err
	}
	return nil
}

// ready makes the socket of a pair for its round.
func (m *meeting) ready(p plan, pair rendezvous.Pair, local netip.AddrPort) (r *runner, err error) {
	r = &runner{pair: pair, remote: pair.Remote.Addr, options: p.options(pair), round: roundOf(pair)}
	switch p.strategyOf(r.round) {
	case rendezvous.Crafted:
		r.socket, err = m.cfg.Network.Craft(local, r.remote, Craft{TTL: m.dyingTTL(r.remote.Addr()), Own: m.opening, Peer: p.peerOpening})
		return r, err
	case rendezvous.FakeSYN:
		if r.fake, err = m.cfg.Network.Fake(local, r.remote, Craft{TTL: m.dyingTTL(r.remote.Addr()), Own: m.opening}); err != nil {
			return nil, err
		}
	case rendezvous.LowTTLs:
		r.options.TTL, r.options.MinTTL = m.dying(r.remote.Addr())
		if p.immune(pair) {
			r.options.MinTTL = immuneMinTTL
		}
		if m.opening != nil {
			r.options.ISN = m.opening.ISN
		}
	}
	if r.socket, err = m.cfg.Network.Open(local, r.options); err != nil && r.fake != nil {
		r.fake.Close()
	}
	return r, err
}

// fireFakes sends the SYNs that stand for nobody, and says when the real ones
// follow: when those of both sides have surely left.
func (m *meeting) fireFakes(ctx context.Context, p plan, pad Launchpad, at timing.Instant, runners []*runner) (timing.Instant, error) {
	fakes := make([]*runner, len(runners))
	for i, r := range runners {
		fakes[i] = &runner{remote: r.remote, socket: r.fake, round: r.round}
	}
	if err := m.fire(ctx, p, pad, at, fakes...); err != nil {
		return 0, err
	}
	for i, f := range fakes {
		m.settle(p, f, context.Canceled)
		m.retire(f)
		runners[i].fake, runners[i].called, runners[i].sent = nil, f.called, f.sent
		if m.left(runners[i]) < 1 {
			runners[i].failure = errBudget
		}
	}
	return at.Add(p.lowTTLGap()), nil
}

// followCrafted waits until the peer's SYN has surely left too, and goes on with
// the handshake.
func (m *meeting) followCrafted(ctx context.Context, p plan, r *runner, first timing.Instant) error {
	if r.failure != nil {
		return r.failure
	}
	err := rest(ctx, first.Add(p.lowTTLGap()))
	if err == nil {
		err = r.socket.Wait(ctx)
	}
	m.settle(p, r, err)
	return err
}

// listenAt opens the listener of a plan that has one.
func (m *meeting) listenAt(p plan) (net.Listener, error) {
	if !p.listening() {
		return nil, nil
	}
	host, err := sourceAddress(p.pairs[0].Remote.Addr)
	if err != nil {
		return nil, err
	}
	return m.cfg.Network.Listen(m.local(host, false))
}

// standing hands over what stands: the runners, and what the listener accepts
// until ctx ends.
func (m *meeting) standing(ctx context.Context, p plan, runners []*runner, listener net.Listener) <-chan *runner {
	if listener == nil {
		return m.followAll(ctx, p, runners)
	}
	both := make(chan *runner, len(runners)+mostAccepted)
	var all sync.WaitGroup
	all.Go(func() { m.accept(ctx, listener, p.expected(), p.pairs[0], 1, both) })
	all.Go(func() {
		for r := range m.followAll(ctx, p, runners) {
			both <- r
		}
	})
	go func() {
		all.Wait()
		close(both)
	}()
	return both
}

// expected are the addresses from which the peer may connect: where the
// coordinator has seen it, and where this side dials it, such as inside one network.
func (p plan) expected() []netip.AddrPort {
	list := slices.Clone(p.attested)
	for _, pair := range p.pairs {
		list = append(list, pair.Remote.Addr)
	}
	return list
}

// inEarnest goes on after SYNs that died on the way. Where the kernel lets this
// program choose the number of a SYN the real one has that of the first, so that
// no box on the way sees two connections. Where it does not, and low-ttl is all
// that was asked for, the kernel repeats the first one after a second.
//
// The side that waits hears the other one from now on, and answers with an
// ordinary TTL, unless there is no NAT on the way: then its SYN may meet a host's
// reset, to which it stays deaf for a while.
func (m *meeting) inEarnest(ctx context.Context, p plan, r *runner, first timing.Instant) error {
	waits := !p.sweeps || r.options.ISN == 0 && r.round == 1
	if waits && !p.immune(r.pair) {
		r.options.TTL = 0
		return r.socket.Set(r.options)
	}
	ready := m.leftAt(p, first, r).Add(p.lowTTLGap())
	if err := m.awaitQuiet(ctx, p, r, ready.Add(-p.lowTTLSlack())); err != nil || r.stands {
		return err
	}
	r.options.TTL, r.options.MinTTL = 0, 0
	if waits {
		return r.socket.Set(r.options)
	}
	m.settle(p, r, context.Canceled)
	if m.left(r) < 1 {
		return errBudget
	}
	if err := m.replace(r); err != nil {
		return err
	}
	return m.fireOnce(ctx, p, ready, r)
}

// leftAt is when the newest SYNs of runners have left: at the instant, or later
// on a busy machine. What the network says of a dying SYN counts from there;
// heard by a socket that is not deaf any more, it would be the end.
func (m *meeting) leftAt(p plan, instant timing.Instant, runners ...*runner) timing.Instant {
	m.attempts.Lock()
	defer m.attempts.Unlock()
	for _, r := range runners {
		instant = max(instant, p.at.Add(m.report.Attempts[r.last].Called))
	}
	return instant
}

// unheard is why a side that only listened was not connected to.
func unheard(timeout time.Duration) (Cause, string) {
	return NATFiltered, fmt.Sprintf("this side listened for %s, and no connection of the peer came", timeout)
}

// disagreed says that the two sides cannot carry out one strategy.
func disagreed(err error) bool {
	return errors.Is(err, rendezvous.ErrStrategy) || errors.Is(err, rendezvous.ErrCannot)
}
