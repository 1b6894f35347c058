package punch

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict"
	"tcppunch/predict/nat"
	"tcppunch/timing"
)

// fakeNetwork makes sockets that only write down what happens to them.
type fakeNetwork struct {
	mu      sync.Mutex
	port    uint16
	sockets []*fakeSocket
	answer  func(*fakeSocket) // called with each SYN; may answer it
	knocks  chan net.Conn     // what the listener accepts
	fakes   bool              // it may send SYNs that stand for nothing
}

func (n *fakeNetwork) Dial(context.Context, netip.AddrPort, netip.AddrPort) (net.Conn, error) {
	return nil, syscall.ECONNREFUSED
}

func (n *fakeNetwork) Open(local netip.AddrPort, o SocketOptions) (Socket, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if local.Port() == 0 {
		n.port++
		local = netip.AddrPortFrom(local.Addr(), n.port)
	}
	s := &fakeSocket{network: n, local: local, opened: timing.Now(), outcome: make(chan error, 1), options: o}
	n.sockets = append(n.sockets, s)
	return s, nil
}

func (n *fakeNetwork) Opening(netip.Addr) (rendezvous.Opening, error) {
	return rendezvous.Opening{}, syscall.EPERM
}

func (n *fakeNetwork) Craft(netip.AddrPort, netip.AddrPort, Craft) (Socket, error) {
	return nil, syscall.EPERM
}

func (n *fakeNetwork) Fake(local, _ netip.AddrPort, _ Craft) (Socket, error) {
	if n.fakes {
		return n.Open(local, SocketOptions{})
	}
	return nil, syscall.EPERM
}

func (n *fakeNetwork) Hop(context.Context, netip.Addr, netip.AddrPort, int) (netip.Addr, error) {
	return netip.Addr{}, syscall.EPERM
}

func (n *fakeNetwork) Launchpad(time.Duration) Launchpad { return fakePad{} }
func (n *fakeNetwork) Tap([]netip.AddrPort, []netip.Addr) (Tap, error) {
	return nil, syscall.EPERM
}

func (n *fakeNetwork) Listen(netip.AddrPort) (net.Listener, error) {
	return &fakeListener{n.knocks, make(chan struct{}), sync.Once{}}, nil
}

// launched are the sockets that sent a SYN, in their order.
func (n *fakeNetwork) launched() []*fakeSocket {
	list := slices.DeleteFunc(slices.Clone(n.sockets), func(s *fakeSocket) bool { return s.sent == 0 })
	slices.SortStableFunc(list, func(a, b *fakeSocket) int { return int(a.sent - b.sent) })
	return list
}

type fakeSocket struct {
	network              *fakeNetwork
	local, remote        netip.AddrPort
	options              SocketOptions
	opened, sent, closed timing.Instant
	outcome              chan error
	conn                 net.Conn
}

func (s *fakeSocket) Local() netip.AddrPort { return s.local }
func (s *fakeSocket) Established() bool     { return s.conn != nil }
func (s *fakeSocket) Conn() (net.Conn, error) {
	return s.conn, nil
}

func (s *fakeSocket) Set(o SocketOptions) error {
	s.options = o
	return nil
}

func (s *fakeSocket) Connect(remote netip.AddrPort) error {
	s.remote, s.sent = remote, timing.Now()
	if s.network.answer != nil {
		s.network.answer(s)
	}
	return nil
}

func (s *fakeSocket) Wait(ctx context.Context) error {
	select {
	case err := <-s.outcome:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *fakeSocket) SYNs() (called, retransmitted int) {
	if s.sent == 0 {
		return 0, 0
	}
	if s.closed == 0 || s.closed.Sub(s.sent) >= time.Second {
		return 1, int(timing.Now().Sub(s.sent) / time.Second) // as a kernel would
	}
	return 1, 0
}

func (s *fakeSocket) Close() error {
	if s.closed == 0 {
		s.closed = timing.Now()
	}
	return nil
}

type fakePad struct{}

func (fakePad) Launch(ctx context.Context, at timing.Instant, shots []Shot) ([]Fired, error) {
	time.Sleep(at.Sub(timing.Now()))
	fired := make([]Fired, len(shots))
	for i, s := range shots {
		time.Sleep(10 * time.Microsecond)
		fired[i] = Fired{Called: timing.Now(), Err: s.Socket.Connect(s.Remote)}
	}
	return fired, ctx.Err()
}

func (fakePad) Glance() timing.Instant { return 0 }
func (fakePad) Step() string           { return "spin" }
func (fakePad) Close() error           { return nil }

type fakeListener struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *fakeListener) Close() error {
	l.once.Do(func() { close(l.ended) })
	return nil
}

func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// placed is a connection that claims to be between two addresses.
type placed struct {
	net.Conn
	local, remote string
	closed        chan struct{}
	once          sync.Once
}

func (p *placed) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.local))
}
func (p *placed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(p.remote))
}
func (p *placed) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Conn.Close()
}

const fakePeer = "127.0.0.2"

// scene is one side of a meeting, ready for a volley one second from now.
func scene(t *testing.T, n *fakeNetwork) (v *volleys, peer *rendezvous.Identity) {
	own, peer := identity(t), identity(t)
	n.port = 40000
	candidate := func(addr string, m nat.Mapping) rendezvous.Candidate {
		return rendezvous.Candidate{Kind: rendezvous.ServerReflexive, Addr: netip.MustParseAddrPort(addr), Behavior: &predict.Behavior{Mapping: m}}
	}
	offer := func(c rendezvous.Candidate) rendezvous.Offer {
		return rendezvous.Offer{Version: rendezvous.OfferVersion, Budget: 100, Forecast: true, Candidates: []rendezvous.Candidate{c}}
	}
	now := time.Now()
	s, err := rendezvous.Agree(
		rendezvous.Party{Key: own.ID(), Offer: offer(candidate("127.0.0.1:4000", nat.EndpointIndependent))},
		rendezvous.Party{Key: peer.ID(), Offer: offer(candidate(fakePeer+":5000", nat.AddressAndPortDependent))},
		rendezvous.Terms{Present: now, Agreed: now})
	if err != nil {
		t.Fatal(err)
	}
	m := &meeting{cfg: Config{Identity: own, Network: n, Clock: timing.NewClock(0, 0), Timeout: 10 * time.Second}, report: newReport("peer"),
		reached: netip.MustParseAddr("127.0.0.9"), presence: rendezvous.Presence{Key: peer.ID()}}
	if _, err := m.claimPort(netip.MustParseAddr("127.0.0.1"), 0); err != nil {
		t.Fatal(err)
	}
	attested := []netip.AddrPort{netip.MustParseAddrPort(fakePeer + ":5000")}
	return &volleys{meeting: m, schedule: s, pair: s.Planned(own.ID()), attested: attested, left: s.Budget}, peer
}

// volley aims this side's SYNs at some ports of the peer.
func volley(v *volleys, fresh bool, ports ...uint16) rendezvous.Volley {
	side := predict.Side{SYNs: len(ports), Fresh: fresh, Addr: netip.MustParseAddr(fakePeer), Ports: ports}
	return rendezvous.Volley{Round: 1, Name: "comb", At: time.Now().Add(time.Second), Plan: predict.Plan{Method: predict.Comb, A: side, B: side, Probability: .5}}
}

func TestAVolleyIsAliveTogetherAndEndsBeforeTheKernelRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNetwork{}
		v, _ := scene(t, n)
		won, err := v.carryOut(t.Context(), volley(v, true, 7001, 7002, 7003, 7004))
		if won != nil || err != nil {
			t.Fatalf("got %v, %v", won, err)
		}
		list := n.launched()
		if len(list) != 4 {
			t.Fatalf("%d sockets sent a SYN, want 4", len(list))
		}
		for i, s := range list {
			if s.opened > list[0].sent || s.closed < list[3].sent || s.closed.Sub(s.sent) >= time.Second {
				t.Errorf("socket %d was open from %v to %v of its SYN", i, s.opened.Sub(s.sent), s.closed.Sub(s.sent))
			}
			if want := uint16(7001 + i); s.remote.Port() != want || i > 0 && s.local.Port() == list[i-1].local.Port() {
				t.Errorf("SYN %d went from %v to %v, want port %d from a port of its own", i, s.local, s.remote, want)
			}
		}
		r := v.report.Rounds[0]
		if v.report.SYNsOnWire != 4 || r.SYNs != 4 || r.Outcome != "failed" || v.left != 92 || v.outcomes()[Unanswered] != 4 {
			t.Errorf("got %d SYNs, round %+v, %d left, outcomes %v", v.report.SYNsOnWire, r, v.left, v.outcomes())
		}
	})
}

func TestTheFirstThatProvesItsKeyEndsTheVolley(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNetwork{}
		v, peer := scene(t, n)
		server := make(chan secured, 1)
		n.answer = func(s *fakeSocket) {
			if s.remote.Port() != 7002 {
				return
			}
			near, far := net.Pipe()
			s.conn = near
			time.AfterFunc(40*time.Millisecond, func() { s.outcome <- nil })
			go func() {
				conn, err := exchange(context.Background(), far, v.schedule.Client == peer.ID(), peer, v.cfg.Identity.ID())
				server <- secured{conn, err}
			}()
		}
		won, err := v.carryOut(t.Context(), volley(v, false, 7001, 7002, 7003))
		if won == nil || err != nil {
			t.Fatalf("got %v, %v", won, err)
		}
		if other := <-server; other.err != nil {
			t.Errorf("the peer: %v", other.err)
		}
		for _, s := range n.launched() {
			if life := s.closed.Sub(s.sent); life > 50*time.Millisecond || s.local.Port() != v.anchors[0].Local().Port() {
				t.Errorf("the SYN from %v to %v was withdrawn %v after it left", s.local, s.remote, life)
			}
		}
		if won.runner.remote.Port() != 7002 || v.report.Rounds[0].Outcome != "established" || v.outcomes()[Abandoned] != 2 {
			t.Errorf("got %v, %+v, %v", won.runner.remote, v.report.Rounds, v.outcomes())
		}
	})
}

func TestAListenerTakesThePeerAndNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNetwork{knocks: make(chan net.Conn, 2)}
		v, peer := scene(t, n)
		a, b := net.Pipe()
		stranger := &placed{Conn: a, local: "127.0.0.1:4000", remote: "127.0.0.3:99", closed: make(chan struct{})}
		near, far := net.Pipe()
		knock := &placed{Conn: near, local: "127.0.0.1:4000", remote: fakePeer + ":61234", closed: make(chan struct{})}
		n.knocks <- stranger
		n.knocks <- knock
		server := make(chan secured, 1)
		go func() {
			conn, err := exchange(context.Background(), far, v.schedule.Client == peer.ID(), peer, v.cfg.Identity.ID())
			server <- secured{conn, err}
		}()
		won, err := v.carryOut(t.Context(), volley(v, false, 7001))
		if won == nil || err != nil {
			t.Fatalf("got %v, %v", won, err)
		}
		if other := <-server; other.err != nil || won.runner.remote.Port() != 61234 {
			t.Errorf("met %v, the peer says %v", won.runner.remote, other.err)
		}
		<-stranger.closed
		b.Close()
	})
}

func TestNoVolleyGoesWhereTheCoordinatorHasNotSeenThePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNetwork{}
		v, _ := scene(t, n)
		x := volley(v, true, 7001)
		x.Plan.A.Addr, x.Plan.B.Addr = netip.MustParseAddr("127.0.0.77"), netip.MustParseAddr("127.0.0.77")
		_, err := v.carryOut(t.Context(), x)
		if no, ok := err.(*failed); !ok || no.cause != Refused || len(n.launched()) != 0 {
			t.Errorf("got %v and %d SYNs, want a refusal", err, len(n.launched()))
		}
	})
}

func TestALowVolleyIsRepeatedInEarnestByOneSide(t *testing.T) {
	for _, earnest := range []bool{true, false} {
		n := &fakeNetwork{}
		v, peer := scene(t, n)
		x := volley(v, true, 7001, 7002)
		x.At, x.Name, x.Earnest = time.Now().Add(100*time.Millisecond), rendezvous.LowTTL, peer.ID()
		if earnest {
			x.Earnest = v.cfg.Identity.ID()
		}
		var ttls []int
		n.answer = func(s *fakeSocket) { ttls = append(ttls, s.options.TTL) }
		if won, err := v.carryOut(t.Context(), x); won != nil || err != nil {
			t.Fatalf("got %v, %v", won, err)
		}
		want, ports := []int{lowTTLHops, lowTTLHops}, map[uint16]bool{}
		if earnest {
			want = append(want, 0, 0)
		}
		for _, s := range n.launched() {
			ports[s.local.Port()] = true
			if last := s.options; !earnest && (last.TTL != 0 || last.MinTTL != lowTTLHops+1) {
				t.Errorf("the side that waits still hears only segments with TTL %d", last.MinTTL)
			}
		}
		if !slices.Equal(ttls, want) || len(ports) != 2 || v.report.SYNsOnWire != len(want) || v.left != 100-6 {
			t.Errorf("in earnest %v: TTLs %v from %d ports, %d SYNs, %d left", earnest, ttls, len(ports), v.report.SYNsOnWire, v.left)
		}
	}
}
