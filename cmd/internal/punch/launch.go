package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"syscall"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// plan is what one side does in a round, as a value.
type plan struct {
	at      timing.Instant
	pairs   []rendezvous.Pair
	client  bool             // takes the client's role in TLS and nominates
	peerKey rendezvous.KeyID // that the peer must prove
	minTTL  bool             // both hosts can tell segments apart by their TTL
	sweeps  bool             // this side varies the phase of its retries, the other keeps to the instants
	bound   time.Duration    // the two sides' instants differ by no more than this; 0: unknown
}

// immune says that the hosts' own resets are to be told from the peer's SYN by
// their TTL: on a path without a translator, between hosts that both can.
// A host's reset carries TTL 64, and the punch's segments leave with 255.
func (p plan) immune(pair rendezvous.Pair) bool {
	b := pair.Remote.Behavior
	sameHost := pair.Local.Addr.Addr() == pair.Remote.Addr.Addr() && b != nil && b.Translated != nil && !*b.Translated
	return p.minTTL && (pair.Remote.Kind == rendezvous.Host || sameHost)
}

const (
	immuneTTL    = 255
	immuneMinTTL = 192 // above every usual initial TTL but 255, and 63 hops below that
)

// mostRetransmissions keeps one SYN's retransmissions within the usual
// deadline: Linux sends them after 1, 2, 3, 4, 5, 7 s (since 6.5).
const mostRetransmissions = 6

// runner is one socket on its way to one remote address.
type runner struct {
	pair   rendezvous.Pair
	remote netip.AddrPort
	socket Socket
	syncnt int

	last     int            // index of its newest attempt in the report
	failure  error          // why it ended
	stood    timing.Instant // when TCP was established
	unproven bool           // TCP was established, but the peer did not prove its key
}

// options divides the SYNs that a pair may cost between connect() calls and
// the kernel's retransmissions.
func (p plan) options(pair rendezvous.Pair) SocketOptions {
	o := SocketOptions{SYNCount: max(1, min(mostRetransmissions, pair.SYNs/2))}
	if p.immune(pair) {
		o.TTL, o.MinTTL = immuneTTL, immuneMinTTL
	}
	return o
}

// launch sends the first SYN of each pair at the instant, follows every socket
// until one is nominated, and explains the outcome.
func (m *meeting) launch(ctx context.Context, p plan) (net.Conn, error) {
	m.pairs = len(p.pairs)
	runners, err := m.open(p)
	if err != nil {
		return nil, err
	}
	tap := m.openTap(runners)
	deadline, cancel := context.WithCancel(ctx)
	defer cancel()
	err = m.wait(deadline, p, runners)
	var won *nominated
	if err == nil {
		won = m.race(deadline, p, runners)
	}
	cancel()
	for _, r := range runners {
		m.count(r)
		r.socket.Close()
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
	return m.explain(p, runners, won)
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
				return nil, err
			}
			host = source
		}
		local := netip.AddrPortFrom(host, m.anchor.Local().Port())
		o := p.options(pair)
		socket, err := m.cfg.Network.Open(local, o)
		if err != nil {
			for _, r := range runners {
				r.socket.Close()
			}
			return nil, err
		}
		runners = append(runners, &runner{pair: pair, remote: pair.Remote.Addr, socket: socket, syncnt: o.SYNCount})
	}
	m.report.Local, m.report.Remote = pointer(runners[0].socket.Local()), pointer(runners[0].remote)
	return runners, nil
}

// openTap starts the capture. A meeting goes on without one.
func (m *meeting) openTap(runners []*runner) Tap {
	var local []netip.AddrPort
	for _, r := range runners {
		local = append(local, r.socket.Local())
	}
	tap, err := m.cfg.Network.Tap(local)
	if err != nil {
		m.trace(Launch, "nothing is captured: %v", err)
		return nil
	}
	return tap
}

// wait sleeps until the instant on a thread of its own and lets the first SYN
// of every pair leave.
func (m *meeting) wait(ctx context.Context, p plan, runners []*runner) error {
	at := p.at.Add(m.cfg.Late)
	m.trace(Launch, "%d sockets ready, %s to the instant", len(runners), at.Sub(timing.Now()).Round(time.Millisecond))
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := timing.Wait(ctx, at); err != nil {
		return err
	}
	for _, r := range runners {
		m.call(p, r)
	}
	return nil
}

// call makes one SYN leave and writes it down.
func (m *meeting) call(p plan, r *runner) {
	called := timing.Now()
	err := r.socket.Connect(r.remote)
	a := Attempt{Round: 1, Local: r.socket.Local(), Remote: r.remote, Called: called.Sub(p.at)}
	if err != nil {
		a.Outcome, a.Error, a.Ended = NotSent, err.Error(), timing.Now().Sub(p.at)
	}
	m.attempts.Lock()
	defer m.attempts.Unlock()
	r.last = len(m.report.Attempts)
	r.failure = err
	m.report.Attempts = append(m.report.Attempts, a)
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
	case errors.Is(err, syscall.ECONNREFUSED):
		return WasRefused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return Unanswered
	case errors.Is(err, context.Canceled):
		return Abandoned
	}
	return Unreachable
}

// follow waits for a runner's connection, and connects again from the same
// port when it is refused, as long as retries and budget last.
func (m *meeting) follow(ctx context.Context, p plan, r *runner) error {
	for retries := m.cfg.Retries; ; retries-- {
		if r.failure != nil {
			return r.failure
		}
		err := r.socket.Wait(ctx)
		m.settle(p, r, err)
		if !errors.Is(err, syscall.ECONNREFUSED) || retries <= 0 || ctx.Err() != nil {
			return err
		}
		if used(r.socket)+1+r.syncnt > r.pair.SYNs {
			return fmt.Errorf("%w: %w", errBudget, err)
		}
		if err := m.waitForRetry(ctx, p, m.cfg.Retries-retries); err != nil {
			return err
		}
		m.call(p, r)
	}
}

// waitForRetry sleeps until the next instant at which both sides try again.
func (m *meeting) waitForRetry(ctx context.Context, p plan, n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return timing.Wait(ctx, p.retryAt(timing.Now(), n))
}

var errBudget = errors.New("the SYN budget is spent")

func used(s Socket) int {
	called, retransmitted := s.SYNs()
	return called + retransmitted
}

// followAll runs follow for each runner and hands over those that stand. The
// channel closes when all have ended.
func (m *meeting) followAll(ctx context.Context, p plan, runners []*runner) <-chan *runner {
	standing := make(chan *runner, len(runners))
	var all sync.WaitGroup
	for _, r := range runners {
		all.Go(func() {
			r.failure = m.follow(ctx, p, r)
			if r.failure == nil {
				r.stood = timing.Now()
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

func (m *meeting) count(r *runner) {
	called, retransmitted := r.socket.SYNs()
	m.report.SYNsCalled += called
	m.report.SYNsOnWire += called + retransmitted
}
