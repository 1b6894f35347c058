package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// plan is what one side does in a round, as a value.
type plan struct {
	at          timing.Instant
	pairs       []rendezvous.Pair
	client      bool                // takes the client's role in TLS and nominates
	peerKey     rendezvous.KeyID    // that the peer must prove
	minTTL      bool                // both hosts can tell segments apart by their TTL
	strategy    rendezvous.Strategy // of the first round
	listens     bool                // in Reverse: the other side connects
	attested    []netip.AddrPort    // where the coordinator has seen the peer
	denied      bool                // both NATs refuse the SYN of a crossing
	peerOpening *rendezvous.Opening // of the peer's crafted SYN; nil: it may not craft

	sweeps bool          // this side varies the phase of its retries, the other keeps to the instants
	bound  time.Duration // the two sides' instants differ by no more than this, for certain; 0: unknown
	likely time.Duration // and by no more than this in 99 %; 0: unknown
	delay  time.Duration // round trip to the coordinator, the longer one of both sides; 0: unknown
}

// mostRetransmissions keeps one SYN's retransmissions within the usual
// deadline: Linux sends them after 1, 2, 3, 4, 5, 7 s (since 6.5).
const mostRetransmissions = 6

// runner is one socket on its way to one remote address.
type runner struct {
	pair   rendezvous.Pair
	remote netip.AddrPort
	socket Socket
	fake   Socket // sends the SYN before the first one in FakeSYN

	options  SocketOptions  // as they are set
	round    int            // the strategy that it carries out, from 1
	tries    int            // retries after refusals
	last     int            // index of its newest attempt in the report
	failure  error          // why it ended
	stands   bool           // TCP was established before it was expected
	called   int            // connect() calls on sockets that were replaced
	sent     int            // SYNs that these sent
	before   int            // of them, in the round before
	stood    timing.Instant // when TCP was established
	unproven bool           // TCP was established, but the peer did not prove its key
}

// options divides the SYNs that a pair may cost between connect() calls and
// the kernel's retransmissions.
func (p plan) options(pair rendezvous.Pair) SocketOptions {
	o := SocketOptions{SYNCount: max(1, min(mostRetransmissions, pair.SYNs/8))}
	if p.immune(pair) {
		o.TTL, o.MinTTL = immuneTTL, immuneMinTTL
	}
	return o
}

// launch sends the first SYN of each pair at the instant, follows every socket
// until one is nominated, and explains the outcome.
func (m *meeting) launch(ctx context.Context, p plan) (net.Conn, error) {
	if m.overUDP() {
		return nil, m.launchUDP(ctx, p)
	}
	runners, err := m.open(p)
	if err != nil {
		return nil, err
	}
	listener, err := m.listenAt(p)
	if err != nil {
		m.retireAll(runners)
		return nil, err
	}
	tap := m.openTap(p, runners)
	deadline, cancel := context.WithCancel(ctx)
	defer cancel()
	won, err := m.firstAndRace(deadline, p, runners, listener)
	cancel()
	if listener != nil {
		listener.Close()
	}
	m.retireAll(runners)
	for _, r := range runners {
		m.report.SYNsCalled += r.called
		m.report.SYNsOnWire += r.sent
	}
	if tap != nil {
		m.capture = pointer(tap.Stop())
	}
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil && won == nil {
		return nil, ctx.Err()
	}
	if won == nil && !p.listening() && m.outcomes()[NotSent] == len(m.report.Attempts) {
		return nil, runners[0].failure // the system let nothing leave, so the network has not answered
	}
	return m.explain(p, runners, won)
}

// firstAndRace lets the first SYN of every pair leave at the instant and then
// follows them. The thread is given back beside that: it can take a
// millisecond, and the connection may stand after a tenth of one.
func (m *meeting) firstAndRace(ctx context.Context, p plan, runners []*runner, listener net.Listener) (*nominated, error) {
	m.cfg.Clock.Disturb(m.cfg.Disturb)
	if err := m.checkClock(); err != nil {
		return nil, err
	}
	at := p.at.Add(m.cfg.Late)
	m.trace(Launch, "%s ready, %s to the instant", syns(len(runners)), at.Sub(timing.Now()).Round(time.Millisecond))
	pad := m.cfg.Network.Launchpad(launchLead)
	m.report.LaunchStep = pointer(pad.Step())
	first := slices.DeleteFunc(slices.Clone(runners), func(r *runner) bool { return r.round != 1 })
	var err error
	if p.strategy == rendezvous.FakeSYN {
		at, err = m.fireFakes(ctx, p, pad, at, first)
		first = slices.DeleteFunc(first, func(r *runner) bool { return r.failure != nil })
	}
	if err == nil && len(first) > 0 {
		err = m.fire(ctx, p, pad, at, first...)
	}
	if err != nil {
		return nil, errors.Join(err, pad.Close())
	}
	m.glance(pad, first)
	won := make(chan *nominated, 1)
	go func() {
		won <- m.race(ctx, p, len(runners)+mostAccepted, func(ctx context.Context) <-chan *runner { return m.standing(ctx, p, runners, listener) })
	}()
	if err := pad.Close(); err != nil {
		m.trace(Launch, "the thread was not given back as it was: %v", err)
	}
	return <-won, nil
}

// glance looks for connections that stand at once, as they do between two hosts
// on one wire: it takes longer to give the thread back and to wake another one.
func (m *meeting) glance(pad Launchpad, runners []*runner) {
	seen := pad.Glance()
	if seen == 0 {
		return
	}
	for _, r := range runners {
		if r.failure == nil && r.socket.Established() {
			r.stood = seen
			m.stands.Store(true)
		}
	}
}

// checkClock looks for what has happened to the clocks since they were
// measured. A step of the wall clock does no harm, because the instant is kept
// on the monotonic clock; that one stands still while a machine is suspended,
// so that nothing measured before holds any more.
func (m *meeting) checkClock() error {
	d := m.cfg.Clock.Check()
	if !d.Any() {
		return nil
	}
	m.report.Disturbance = pointer(d.String())
	m.trace(Launch, "since the clocks were compared, %s", d)
	if d.Suspend != 0 && !m.cfg.NoSync {
		return &failed{ClockTooPoor, fmt.Sprintf("since the clocks were compared, %s: the instant is not known any more", d)}
	}
	return nil
}

// roundOf is the round in which a pair begins.
func roundOf(p rendezvous.Pair) int {
	if p.Local.Spare {
		return 2
	}
	return 1
}

// open prepares the sockets before the instant. They stand in the report as
// the meeting's ends from here on.
func (m *meeting) open(p plan) ([]*runner, error) {
	var runners []*runner
	for _, pair := range p.pairs {
		host := pair.Local.Addr.Addr()
		if pair.Local.Kind != rendezvous.Host {
			source, err := sourceAddress(pair.Remote.Addr)
			if err != nil {
				m.retireAll(runners)
				return nil, err
			}
			host = source
		}
		if p.passive() {
			m.report.Local, m.report.Remote = pointer(m.local(host, false)), pointer(pair.Remote.Addr)
			return nil, nil
		}
		r, err := m.ready(p, pair, m.local(host, pair.Local.Spare))
		if err != nil {
			m.retireAll(runners)
			return nil, err
		}
		runners = append(runners, r)
	}
	m.report.Local, m.report.Remote = pointer(runners[0].socket.Local()), pointer(runners[0].remote)
	return runners, nil
}

// openTap starts the capture. A meeting goes on without one.
func (m *meeting) openTap(p plan, runners []*runner) Tap {
	var local []netip.AddrPort
	var peer []netip.Addr
	if p.passive() {
		local, peer = append(local, *m.report.Local), append(peer, m.report.Remote.Addr())
	}
	for _, r := range runners {
		local = append(local, r.socket.Local())
		if a := r.remote.Addr(); !slices.Contains(peer, a) {
			peer = append(peer, a)
		}
	}
	tap, err := m.cfg.Network.Tap(local, peer)
	if err != nil {
		m.trace(Launch, "nothing is captured: %v", err)
		return nil
	}
	return tap
}

// retire closes a runner's socket and keeps its counts.
func (m *meeting) retire(r *runner) {
	called, retransmitted := r.socket.SYNs()
	r.called += called
	r.sent += called + retransmitted
	r.socket.Close()
	if r.fake != nil { // which was not sent
		r.fake.Close()
		r.fake = nil
	}
}

func (m *meeting) retireAll(runners []*runner) {
	for _, r := range runners {
		m.retire(r)
	}
}
