package rawsock

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab/netlabtest"
)

// guarded makes a socket deaf to what starts with the kernel's default TTL of
// 64, such as the reset of a host that has no socket yet.
var guarded = Options{TTL: 255, MinTTL: 192}

func TestGuardedSidesConnectWithOneSYNEachAtAnySkew(t *testing.T) {
	for _, family := range []struct {
		name string
		a, b netip.Addr
	}{{"IPv4", netlabtest.A4, netlabtest.B4}, {"IPv6", netlabtest.A6, netlabtest.B6}} {
		for _, late := range []string{"at once", "after the reset"} {
			t.Run(family.name+" "+late, func(t *testing.T) {
				nsA, nsB, _, _ := netlabtest.Pair(t)
				tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7001}})
				a := openIn(t, nsA, netip.AddrPortFrom(family.a, 7001), guarded)
				b := openIn(t, nsB, netip.AddrPortFrom(family.b, 7002), guarded)
				before := in(t, nsA, HiddenResets)
				mustConnect(t, a, b.Local())
				if late != "at once" {
					await(t, tap, "the reset", func(s segment) bool { return s.flags&rst != 0 })
					if got := in(t, nsA, HiddenResets); got == before {
						t.Error("HiddenResets did not grow by the reset that was hidden")
					}
				}
				mustConnect(t, b, a.Local())
				for _, s := range []*Socket{a, b} {
					if err := s.Wait(soon(t)); err != nil {
						t.Fatal(err)
					}
					if called, resent := s.SYNs(); called != 1 || resent != 0 {
						t.Errorf("%v: got %d SYNs and %d retransmissions, want 1 and 0", s.Local(), called, resent)
					}
				}
				exchange(t, tap, a, b)
			})
		}
	}
}

// exchange takes both connections and shows that they hear each other, also
// while one of them is still guarded.
func exchange(t *testing.T, tap *Tap, a, b *Socket) {
	t.Helper()
	connA, connB := take(t, a), take(t, b)
	for _, way := range []struct{ from, to net.Conn }{{connA, connB}, {connB, connA}} {
		if _, err := way.from.Write([]byte("heard")); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		way.to.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(way.to, got); err != nil || string(got) != "heard" {
			t.Fatalf("got %q, %v, want %q", got, err, "heard")
		}
	}
	s := await(t, tap, "data", func(s segment) bool { return s.flags&0x08 != 0 })
	if s.hops != 255 {
		t.Errorf("data left with TTL %d, want 255: the other end may be guarded still", s.hops)
	}
}

func take(t *testing.T, s *Socket) net.Conn {
	t.Helper()
	c, err := s.Conn()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.(*net.TCPConn); !ok {
		t.Errorf("got a %T, want a *net.TCPConn", c)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestRefusedSocketConnectsAgainFromTheSamePort(t *testing.T) {
	nsA, nsB, addrA, addrB := netlabtest.Pair(t)
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 0), Options{})
	remote := netip.AddrPortFrom(addrB, 7000)
	for try := range 3 {
		mustConnect(t, s, remote)
		if err := s.Wait(soon(t)); !errors.Is(err, ErrRefused) || !errors.Is(err, unix.ECONNREFUSED) {
			t.Fatalf("try %d: got %v, want %v", try, err, ErrRefused)
		}
	}
	listenIn(t, nsB, remote)
	mustConnect(t, s, remote)
	if err := s.Wait(soon(t)); err != nil {
		t.Fatal(err)
	}
	if called, resent := s.SYNs(); called != 4 || resent != 0 {
		t.Errorf("got %d SYNs and %d retransmissions, want 4 and 0", called, resent)
	}
	c := take(t, s)
	if got, want := c.LocalAddr().(*net.TCPAddr).AddrPort(), s.Local(); got != want {
		t.Errorf("local end: got %v, want %v", got, want)
	}
}

func TestRefusalThatNobodyCollectedDoesNotSwallowTheNextSYN(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7001}})
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), Options{})
	for range 3 {
		mustConnect(t, s, netip.AddrPortFrom(addrB, 7000))
		await(t, tap, "a SYN", func(s segment) bool { return s.flags == syn })
		await(t, tap, "its reset", func(s segment) bool { return s.flags&rst != 0 })
	}
	if called, _ := s.SYNs(); called != 3 {
		t.Errorf("got %d SYNs, want 3", called)
	}
}

func TestSYNsAreTheOnesOnTheWire(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7001}})
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), guarded)
	remote := netip.AddrPortFrom(addrB, 7000)
	mustConnect(t, s, remote)
	mustConnect(t, s, remote) // in progress: sends nothing
	isSYN := func(s segment) bool { return s.flags == syn }
	await(t, tap, "the SYN", isSYN)
	await(t, tap, "its retransmission", isSYN) // after 1 s
	if err := s.Set(Options{TTL: 255}); err != nil {
		t.Fatal(err)
	}
	if called, resent := s.SYNs(); called != 1 || resent != 1 {
		t.Errorf("while waiting: got %d SYNs and %d retransmissions, want 1 and 1", called, resent)
	}
	if err := s.Wait(soon(t)); !errors.Is(err, ErrRefused) { // the next reset is heard
		t.Fatalf("got %v, want %v", err, ErrRefused)
	}
	called, resent := s.SYNs()
	tap.Stop()
	onWire := 2
	for f, err := tap.Next(); err == nil; f, err = tap.Next() {
		if s, ok := parseSegment(f); ok && isSYN(s) {
			onWire++
		}
	}
	if called+resent != onWire || called != 1 {
		t.Errorf("got %d SYNs and %d retransmissions, want 1 and together the %d at the tap", called, resent, onWire)
	}
}

func TestCloseEndsWait(t *testing.T) {
	for _, end := range []struct {
		name string
		of   func(*Socket) error
	}{{"Close", (*Socket).Close}, {"Abort", (*Socket).Abort}} {
		nsA, _, addrA, addrB := netlabtest.Pair(t)
		s := openIn(t, nsA, netip.AddrPortFrom(addrA, 0), guarded)
		mustConnect(t, s, netip.AddrPortFrom(addrB, 7000))
		ended := make(chan error)
		go func() { ended <- s.Wait(soon(t)) }()
		if err := end.of(s); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("%s: Wait got %v, want %v", end.name, err, ErrClosed)
		}
		if err := s.Connect(netip.AddrPortFrom(addrB, 7000)); !errors.Is(err, ErrClosed) {
			t.Errorf("%s: Connect got %v, want %v", end.name, err, ErrClosed)
		}
	}
}

func TestContextEndsWaitAndNotTheSocket(t *testing.T) {
	nsA, nsB, addrA, addrB := netlabtest.Pair(t)
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 0), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	listenIn(t, nsB, netip.AddrPortFrom(addrB, 7000))
	ended := make(chan error)
	go func() { ended <- s.Wait(soon(t)) }() // may begin before Connect
	mustConnect(t, s, netip.AddrPortFrom(addrB, 7000))
	if err := <-ended; err != nil {
		t.Errorf("a later Wait: got %v, want a connection", err)
	}
}

func TestForeignSocketOnThePortIsAClearError(t *testing.T) {
	nsA, _, addrA, _ := netlabtest.Pair(t)
	local := netip.AddrPortFrom(addrA, 7000)
	listenIn(t, nsA, local)
	err := nsA.Do(func() error {
		_, err := Open(local, Options{})
		return err
	})
	if !errors.Is(err, ErrPortInUse) || !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("got %v, want %v", err, ErrPortInUse)
	}
}

func TestPrivilegedPortIsAClearError(t *testing.T) {
	nsA, _, addrA, _ := netlabtest.Pair(t)
	err := withoutCapabilities(nsA, func() error {
		_, err := Open(netip.AddrPortFrom(addrA, 99), Options{})
		return err
	})
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v, want %v", err, os.ErrPermission)
	}
}

func TestStandingConnectionIsAClearErrorAndOtherRemotesWork(t *testing.T) {
	nsA, nsB, addrA, addrB := netlabtest.Pair(t)
	local, remote := netip.AddrPortFrom(addrA, 7001), netip.AddrPortFrom(addrB, 7000)
	listenIn(t, nsB, remote)
	first := openIn(t, nsA, local, Options{})
	mustConnect(t, first, remote)
	if err := first.Wait(soon(t)); err != nil {
		t.Fatal(err)
	}
	defer take(t, first).Close() // closed, it might be in TIME-WAIT, which Linux takes again where it knows time stamps
	second := openIn(t, nsA, local, Options{})
	if err := second.Connect(remote); !errors.Is(err, ErrPortInUse) || !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("same endpoints: got %v, want %v", err, ErrPortInUse)
	}
	other := netip.AddrPortFrom(addrB, 7002)
	listenIn(t, nsB, other)
	mustConnect(t, second, other)
	if err := second.Wait(soon(t)); err != nil {
		t.Errorf("another remote from the same port: got %v, want a connection", err)
	}
	if called, _ := second.SYNs(); called != 1 {
		t.Errorf("got %d SYNs, want 1: the refused connect() sent none", called)
	}
}

func TestNoRouteIsUnreachable(t *testing.T) {
	nsA, _, addrA, _ := netlabtest.Pair(t)
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 0), Options{})
	err := s.Connect(netip.MustParseAddrPort("192.0.2.1:7"))
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("got %v, want %v", err, ErrUnreachable)
	}
}

func TestSilenceIsATimeout(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	o := guarded
	o.UserTimeout = 50 * time.Millisecond
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 0), o)
	mustConnect(t, s, netip.AddrPortFrom(addrB, 7000))
	if err := s.Wait(soon(t)); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want %v", err, ErrTimeout)
	}
}

func TestOptionsGoBackToTheKernelsDefaults(t *testing.T) {
	nsA, _, _, _ := netlabtest.Pair(t)
	for _, addr := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		s := openIn(t, nsA, netip.AddrPortFrom(addr, 0), Options{})
		want := optionValues(t, s)
		if err := s.Set(Options{TTL: 9, MinTTL: 8, SynCount: 3, UserTimeout: time.Second, Device: netlabtest.Link, Mark: 5}); err != nil {
			t.Fatal(err)
		}
		if got, want := optionValues(t, s), [5]int{9, 8, 3, 1000, 5}; got != want {
			t.Errorf("%v: got %v, want %v", addr, got, want)
		}
		if err := s.Set(Options{}); err != nil {
			t.Fatal(err)
		}
		if got := optionValues(t, s); got != want {
			t.Errorf("%v set back: got %v, want %v", addr, got, want)
		}
	}
}

func optionValues(t *testing.T, s *Socket) (values [5]int) {
	t.Helper()
	list := [5][2]int{{unix.IPPROTO_IP, unix.IP_TTL}, {unix.IPPROTO_IP, unix.IP_MINTTL},
		{unix.IPPROTO_TCP, unix.TCP_SYNCNT}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}, {unix.SOL_SOCKET, unix.SO_MARK}}
	if s.Local().Addr().Is6() {
		list[0] = [2]int{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}
		list[1] = [2]int{unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT}
	}
	for i, o := range list {
		value, err := unix.GetsockoptInt(s.fd, o[0], o[1])
		if err != nil {
			t.Fatal(err)
		}
		values[i] = value
	}
	return values
}

func TestDialsFromOnePortReachSeveralRemotes(t *testing.T) {
	nsA, nsB, addrA, addrB := netlabtest.Pair(t)
	local := netip.AddrPortFrom(addrA, 7001)
	for port := range uint16(3) {
		remote := netip.AddrPortFrom(addrB, 7100+port)
		listenIn(t, nsB, remote)
		c := in(t, nsA, func() (net.Conn, error) { return Dial(soon(t), local, remote, Options{}) })
		defer c.Close()
		if got := c.LocalAddr().(*net.TCPAddr).AddrPort(); got != local {
			t.Errorf("to %v: got local end %v, want %v", remote, got, local)
		}
	}
	err := nsA.Do(func() error {
		_, err := Dial(soon(t), netip.AddrPort{}, netip.AddrPortFrom(addrB, 7200), Options{})
		return err
	})
	if !errors.Is(err, ErrRefused) || strings.Count(err.Error(), "refused") != 1 {
		t.Errorf("closed port: got %v, want %v, said once", err, ErrRefused)
	}
}

func TestConnectDoesNotAllocate(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 0), Options{})
	remote := netip.AddrPortFrom(addrB, 7000)
	if got := testing.AllocsPerRun(10, func() { mustConnect(t, s, remote) }); got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}

func BenchmarkConnectOnPreparedSocket(b *testing.B) {
	nsA, _, addrA, addrB := netlabtest.Pair(b)
	sockets := make([]*Socket, 256)
	for b.Loop() {
		b.StopTimer()
		for i := range sockets {
			sockets[i] = in(b, nsA, func() (*Socket, error) { return Open(netip.AddrPortFrom(addrA, uint16(20000+i)), guarded) })
		}
		remote := netip.AddrPortFrom(addrB, 7000)
		b.StartTimer()
		for _, s := range sockets {
			mustConnect(b, s, remote)
		}
		b.StopTimer()
		for _, s := range sockets {
			s.Close()
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(sockets)), "ns/connect")
}
