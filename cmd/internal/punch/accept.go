package punch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict"
	"tcppunch/timing"
)

// mostAccepted bounds what strangers may make a listener hold.
const mostAccepted = 16

// beforeResending is how long the sockets of a volley may wait: less than the
// initial retransmission time-out, so that each costs one SYN.
const beforeResending = beforeRetransmission

// volleyLife is how long after its instant a volley is given up: several times
// what its SYNs need to the peer and back.
func (p plan) volleyLife() time.Duration {
	return min(beforeResending, 250*time.Millisecond+4*p.delay+p.lowTTLGap())
}

// listen opens a listener at the port of the punch for a side whose port is
// known: the peer's SYN may come from a port that nobody aimed at.
func (v *volleys) listen(side predict.Side) net.Listener {
	if side.Fresh {
		return nil
	}
	host, err := sourceAddress(v.pair.Remote.Addr)
	if err != nil {
		return nil
	}
	l, err := v.cfg.Network.Listen(v.local(host, false))
	if err != nil {
		v.trace(Launch, "nothing listens: %v", err)
		return nil
	}
	return l
}

// followVolley hands over what stands: sockets of the volley, once it was
// fired, and connections that the listener accepts before and after.
func (v *volleys) followVolley(ctx context.Context, runners []*runner, listener net.Listener, fired <-chan struct{}) <-chan *runner {
	standing := make(chan *runner, len(runners)+mostAccepted)
	end := v.plan.at.Add(v.cfg.Late + v.plan.volleyLife())
	ctx, cancel := context.WithTimeout(ctx, end.Sub(timing.Now()))
	var all sync.WaitGroup
	all.Go(func() {
		<-fired
		for _, r := range runners {
			all.Go(func() { v.followShot(ctx, r, standing) })
		}
	})
	if listener != nil {
		all.Go(func() { v.accept(ctx, listener, v.attested, v.pair, len(v.report.Rounds), standing) })
	}
	go func() {
		all.Wait()
		cancel()
		close(standing)
	}()
	return standing
}

// followShot waits for the outcome of one SYN, and withdraws it before the
// kernel would repeat it.
func (v *volleys) followShot(ctx context.Context, r *runner, standing chan<- *runner) {
	if r.failure != nil {
		return // the system let nothing leave
	}
	r.failure = r.socket.Wait(ctx)
	v.settle(v.plan, r, r.failure)
	if r.failure != nil {
		r.socket.Close()
		return
	}
	r.stood = timing.Now()
	standing <- r
}

// accept takes connections from the addresses at which the coordinator has seen
// the peer, until ctx ends.
func (m *meeting) accept(ctx context.Context, listener net.Listener, attested []netip.AddrPort, pair rendezvous.Pair, round int, standing chan<- *runner) {
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	for range mostAccepted {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		r := runnerOf(conn, pair, round)
		if !seenAt(attested, r.remote.Addr()) {
			conn.Close()
			continue
		}
		standing <- r
	}
}

// seenAt reports whether the coordinator has seen the peer at an address.
func seenAt(attested []netip.AddrPort, addr netip.Addr) bool {
	for _, a := range attested {
		if a.Addr().Unmap() == addr {
			return true
		}
	}
	return false
}

func runnerOf(conn net.Conn, pair rendezvous.Pair, round int) *runner {
	s := inbound{conn: conn, local: endpoint(conn.LocalAddr())}
	return &runner{pair: pair, remote: endpoint(conn.RemoteAddr()), socket: s, round: round, stood: timing.Now()}
}

func endpoint(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// inbound is a connection that a listener took, as a Socket.
type inbound struct {
	conn  net.Conn
	local netip.AddrPort
}

var errAccepted = errors.New("an accepted connection does not connect")

func (a inbound) Local() netip.AddrPort      { return a.local }
func (inbound) Connect(netip.AddrPort) error { return errAccepted }
func (inbound) Wait(context.Context) error   { return nil }
func (inbound) Established() bool            { return true }
func (inbound) Set(SocketOptions) error      { return nil }
func (a inbound) Conn() (net.Conn, error)    { return a.conn, nil }
func (inbound) SYNs() (called, resent int)   { return 0, 0 }
func (a inbound) Close() error               { return a.conn.Close() }
