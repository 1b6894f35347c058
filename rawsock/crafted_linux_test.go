package rawsock

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// serverIn accepts one connection in a namespace.
func serverIn(t testing.TB, n *netlab.Namespace, local netip.AddrPort) <-chan net.Conn {
	t.Helper()
	l := in(t, n, func() (net.Listener, error) { return net.Listen("tcp", local.String()) })
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	return accepted
}

func craftedIn(t testing.TB, n *netlab.Namespace, c CraftedConfig) *Crafted {
	t.Helper()
	o := in(t, n, func() (*Crafted, error) { return OpenCrafted(c) })
	t.Cleanup(func() { o.Close() })
	return o
}

// dialCraftedIn opens a connection by hand in a namespace.
func dialCraftedIn(t testing.TB, n *netlab.Namespace, c CraftedConfig) net.Conn {
	t.Helper()
	o := craftedIn(t, n, c)
	if err := o.SendSYN(); err != nil {
		t.Fatal(err)
	}
	conn, err := o.Wait(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// trade sends n random bytes each way at once, compares their sums, and
// closes both ends in good order.
func trade(t testing.TB, a, b net.Conn, n int64) {
	t.Helper()
	limit := time.Now().Add(time.Minute + time.Duration(n/(1<<20))*time.Second)
	results := make(chan error, 2)
	sums := make(chan [2][]byte, 2)
	for i, end := range []net.Conn{a, b} {
		end.SetDeadline(limit)
		go func() {
			sent, got := sha256.New(), sha256.New()
			source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), n), sent)
			done := make(chan error, 1)
			go func() {
				_, err := io.Copy(got, end)
				done <- err
			}()
			_, err := io.Copy(struct{ io.Writer }{end}, source)
			err = errors.Join(err, end.(*net.TCPConn).CloseWrite(), <-done, end.Close())
			sums <- [2][]byte{sent.Sum(nil), got.Sum(nil)}
			results <- err
		}()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("trade: %v", err)
		}
	}
	x, y := <-sums, <-sums
	if !bytes.Equal(x[0], y[1]) || !bytes.Equal(y[0], x[1]) {
		t.Errorf("%d bytes did not arrive as they were sent", n)
	}
}

// traded is how much is sent either way: a little, or as much as
// TCPPUNCH_CRAFTED_BYTES says.
func traded(t testing.TB) int64 {
	text := os.Getenv("TCPPUNCH_CRAFTED_BYTES")
	if text == "" {
		return 2 << 20
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAdoptedConnectionsCarryData(t *testing.T) {
	for _, f := range families {
		nsA, nsB, _, _ := netlabtest.Pair(t)
		remote := netip.AddrPortFrom(f.b, 7002)
		accepted := serverIn(t, nsB, remote)
		tap := tapIn(t, nsB, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7002}, SnapLen: 96})
		conn := dialCraftedIn(t, nsA, CraftedConfig{Local: netip.AddrPortFrom(f.a, 0), Remote: remote})
		peer := <-accepted
		if conn.LocalAddr().String() != peer.RemoteAddr().String() {
			t.Errorf("we are %v, and the peer sees %v", conn.LocalAddr(), peer.RemoteAddr())
		}
		trade(t, conn, peer, traded(t))
		tap.Stop()
		if n := countResets(tap); n != 0 {
			t.Errorf("%v: got %d resets in a connection that was closed in order", f.a, n)
		}
	}
}

func countResets(tap *Tap) (n int) {
	for {
		f, err := tap.Next()
		if err != nil {
			return n
		}
		if s, ok := parseSegment(f); ok && s.flags&rst != 0 {
			n++
		}
	}
}

func TestAdoptedConnectionsSurviveLoss(t *testing.T) {
	link := netlab.Link{Delay: 2 * time.Millisecond, Loss: 0.01}
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		nsA, nsB, addrA, addrB := linked(t, link, like)
		remote := netip.AddrPortFrom(addrB, 7002)
		accepted := serverIn(t, nsB, remote)
		conn := dialCraftedIn(t, nsA, CraftedConfig{Local: netip.AddrPortFrom(addrA, 7001), Remote: remote})
		trade(t, conn, <-accepted, traded(t))
	}
}

func TestAdoptionKeepsToWhatThePeerOffered(t *testing.T) {
	nsA, nsB, addrA, addrB := netlabtest.Pair(t)
	for i, options := range []TCPOptions{
		{},
		TCPOptions(nil).MSS(536),
		TCPOptions(nil).WindowScale(14),
		TCPOptions(nil).Timestamps(1<<32-2, 0).SACKPermitted(),
	} {
		remote := netip.AddrPortFrom(addrB, uint16(7002+i))
		accepted := serverIn(t, nsB, remote)
		conn := dialCraftedIn(t, nsA, CraftedConfig{Local: netip.AddrPortFrom(addrA, 0), Remote: remote, Options: options})
		trade(t, conn, <-accepted, 1<<20)
	}
}

func TestCraftedSYNCrossesAKernelsConnect(t *testing.T) {
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		nsA, nsB, addrA, addrB := linked(t, netlab.Link{Delay: 30 * time.Millisecond}, like)
		peer := openIn(t, nsB, netip.AddrPortFrom(addrB, 7002), Options{})
		o := craftedIn(t, nsA, CraftedConfig{Local: netip.AddrPortFrom(addrA, 7001), Remote: peer.Local()})
		if err := o.SendSYN(); err != nil {
			t.Fatal(err)
		}
		mustConnect(t, peer, o.Local())
		conn, err := o.Wait(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := peer.Wait(soon(t)); err != nil {
			t.Fatal(err)
		}
		trade(t, conn, take(t, peer), traded(t))
	}
}

func TestCraftedSYNACKsOpenWhenBothSYNsDie(t *testing.T) {
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		nsA, nsB, addrA, addrB := linked(t, netlab.Link{Delay: 10 * time.Millisecond}, like)
		ends := [2]netip.AddrPort{netip.AddrPortFrom(addrA, 7001), netip.AddrPortFrom(addrB, 7002)}
		tap := tapIn(t, nsB, TapConfig{Interface: "eth0", Ports: []uint16{7001}})
		var known [2]Segment
		for i, n := range []*netlab.Namespace{nsA, nsB} { // as a coordinator would hear of it
			o := in(t, n, func() (*Crafted, error) {
				return OpenCrafted(CraftedConfig{Local: ends[i], Remote: ends[1-i]})
			})
			known[i] = o.SYN()
			o.Close()
		}
		conns := make(chan net.Conn, 2)
		for i, n := range []*netlab.Namespace{nsA, nsB} {
			o := craftedIn(t, n, CraftedConfig{Local: ends[i], Remote: ends[1-i], TTL: 2,
				ISN: known[i].Seq, Options: known[i].Options, Peer: &known[1-i]})
			if err := o.SendSYN(); err != nil {
				t.Fatal(err)
			}
			go func() {
				conn, err := o.Wait(soon(t))
				if err != nil {
					t.Error(err)
				}
				conns <- conn
			}()
		}
		a, b := <-conns, <-conns
		if a == nil || b == nil {
			t.FailNow()
		}
		await(t, tap, "the SYN-ACK of the other end", func(s segment) bool {
			if s.flags == syn && s.source == ends[0] {
				t.Error("a SYN that should have died arrived")
			}
			return s.flags == synAck && s.source == ends[0]
		})
		trade(t, a, b, traded(t))
	}
}

func TestCraftedSYNACKAnswersAKernelsSYNThatNeverCame(t *testing.T) {
	nsA, nsB, addrA, addrB := linked(t, netlab.Link{Delay: 10 * time.Millisecond}, netip.IPv4Unspecified())
	// The ICMP error about the SYN quotes what is left of its TTL, so that any
	// MinTTL above that keeps the socket alive.
	peer := openIn(t, nsB, netip.AddrPortFrom(addrB, 7002), Options{TTL: 2, MinTTL: 3})
	const isn = 3_000_000_000
	if err := peer.PresetISN(isn); err != nil {
		t.Fatal(err)
	}
	mustConnect(t, peer, netip.AddrPortFrom(addrA, 7001))
	if err := peer.Set(Options{MinTTL: 3}); err != nil {
		t.Fatal(err)
	}
	conn := dialCraftedIn(t, nsA, CraftedConfig{Local: netip.AddrPortFrom(addrA, 7001), Remote: peer.Local(), TTL: 2,
		Peer: &Segment{Seq: isn, Window: defaultWindow}})
	if err := peer.Wait(soon(t)); err != nil {
		t.Fatal(err)
	}
	if called, resent := peer.SYNs(); called != 1 || resent != 0 {
		t.Errorf("got %d SYNs and %d retransmissions, want the first alone", called, resent)
	}
	trade(t, conn, take(t, peer), traded(t))
}

func TestCraftedHandshakeTellsWhyItFailed(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	for remote, want := range map[netip.AddrPort]error{
		netip.AddrPortFrom(addrB, 7009):             ErrRefused,
		netip.MustParseAddrPort("203.0.113.1:7000"): ErrUnreachable,
	} {
		_, err := in2(t, nsA, func() (net.Conn, error) {
			return DialCrafted(soon(t), CraftedConfig{Local: netip.AddrPortFrom(addrA, 0), Remote: remote})
		})
		if !errors.Is(err, want) {
			t.Errorf("to %v: got %v, want %v", remote, err, want)
		}
		if want == ErrRefused && (!errors.Is(err, unix.ECONNREFUSED) || strings.Count(err.Error(), "refused") != 1) {
			t.Errorf("to %v: got %v, want it said once, with the system's number", remote, err)
		}
	}
	for _, to := range []string{"198.51.100.9:7000", "[2001:db8:c::9]:7000"} {
		remote := netip.MustParseAddrPort(to)
		n, _, local, _ := distance(t, time.Millisecond, remote.Addr())
		_, err := in2(t, n, func() (net.Conn, error) {
			return DialCrafted(soon(t), CraftedConfig{Local: netip.AddrPortFrom(local, 0), Remote: remote})
		})
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "from ") {
			t.Errorf("to %v: got %v, want %v and by whom", to, err, ErrUnreachable)
		}
	}
}

func TestCancelledCraftedHandshakeLeavesNothingHalfOpen(t *testing.T) {
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		nsA, nsB, addrA, addrB := linked(t, netlab.Link{Delay: 20 * time.Millisecond}, like)
		remote := netip.AddrPortFrom(addrB, 7002)
		listenIn(t, nsB, remote)
		tap := tapIn(t, nsB, TapConfig{Interface: "eth0", Ports: []uint16{7002}})
		o := craftedIn(t, nsA, CraftedConfig{Local: netip.AddrPortFrom(addrA, 7001), Remote: remote})
		if err := o.SendSYN(); err != nil {
			t.Fatal(err)
		}
		await(t, tap, "the SYN-ACK", func(s segment) bool { return s.flags == synAck })
		if got := halfOpen(t, nsB); got != 1 {
			t.Errorf("after the SYN-ACK: got %d connections in SYN-RECEIVED, want 1", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := o.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		await(t, tap, "the reset", func(s segment) bool { return s.flags&rst != 0 })
		if got := halfOpen(t, nsB); got != 0 {
			t.Errorf("after the reset: got %d connections in SYN-RECEIVED, want none", got)
		}
		if s, err := in2(t, nsA, func() (*Socket, error) { return Open(o.Local(), Options{}) }); err != nil {
			t.Errorf("the port is not free again: %v", err)
		} else {
			s.Close()
		}
	}
}

// halfOpen counts the connections in SYN-RECEIVED, state 03 of /proc/net/tcp.
func halfOpen(t testing.TB, n *netlab.Namespace) int {
	t.Helper()
	return in(t, n, func() (count int, err error) {
		for _, name := range []string{"tcp", "tcp6"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil {
				return 0, err
			}
			for line := range strings.Lines(string(text)) {
				if fields := strings.Fields(line); len(fields) > 3 && fields[3] == "03" {
					count++
				}
			}
		}
		return count, nil
	})
}

func TestCraftedHandshakeWithoutPrivilegeSendsNothing(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link})
	for _, capability := range []int{capabilityNetAdmin, capabilityNetRaw} {
		err := withoutCapability(nsA, capability, func() error {
			_, err := DialCrafted(soon(t), CraftedConfig{Local: netip.AddrPortFrom(addrA, 7001), Remote: netip.AddrPortFrom(addrB, 7002)})
			return err
		})
		want := map[int]string{capabilityNetAdmin: "CAP_NET_ADMIN", capabilityNetRaw: "CAP_NET_RAW"}[capability]
		missing, ok := errors.AsType[*PrivilegeError](err)
		if !ok || missing.Capability != want || !errors.Is(err, os.ErrPermission) {
			t.Errorf("got %v, want a PrivilegeError about %s", err, want)
		}
	}
	tap.Stop()
	for {
		f, err := tap.Next()
		if err != nil {
			break
		}
		if s, ok := parseSegment(f); ok {
			t.Errorf("sent %+v", s)
		}
	}
}

// Numbers of capabilities (<linux/capability.h>).
const (
	capabilityNetAdmin = 12
	capabilityNetRaw   = 13
)

func TestPresetISNIsThatOfTheSYN(t *testing.T) {
	for _, f := range families {
		nsA, nsB, _, _ := netlabtest.Pair(t)
		tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7001}})
		s := openIn(t, nsA, netip.AddrPortFrom(f.a, 7001), Options{})
		remote := netip.AddrPortFrom(f.b, 7002)
		for _, isn := range []uint32{1, 4_000_000_000, 4_000_000_000} { // the first two are refused
			if isn == 4_000_000_000 && s.called == 2 {
				listenIn(t, nsB, remote)
			}
			if err := s.PresetISN(isn); err != nil {
				t.Fatal(err)
			}
			mustConnect(t, s, remote)
			awaitFrame(t, tap, "a SYN", func(f Frame) bool {
				seg, err := ParseSegment(f.Data[14:])
				if err == nil && seg.Flags == SYN && seg.Seq != isn {
					t.Errorf("got the ISN %d, want %d", seg.Seq, isn)
				}
				return err == nil && seg.Flags == SYN
			})
			s.Wait(soon(t))
		}
		if !s.Established() {
			t.Error("not established with the preset ISN")
		}
		if err := s.PresetISN(1); err == nil {
			t.Error("the ISN of an established connection was preset")
		}
	}
}

func TestKernelTakesTheSYNACKOfACraftedSYNWithItsISN(t *testing.T) {
	nsA, nsB, addrA, addrB := linked(t, netlab.Link{Delay: 10 * time.Millisecond}, netip.IPv4Unspecified())
	remote := netip.AddrPortFrom(addrB, 7002)
	listenIn(t, nsB, remote)
	tap := tapIn(t, nsB, TapConfig{Interface: "eth0", Ports: []uint16{7002}})
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), Options{})
	const isn = 77_777
	if err := s.PresetISN(isn); err != nil {
		t.Fatal(err)
	}
	v, err := senderIn(t, nsA, addrA, Options{}).Load([]Segment{{From: s.Local(), To: remote, Flags: SYN, Seq: isn, Window: 64240, Options: TCPOptions(nil).MSS(1460)}})
	if err != nil {
		t.Fatal(err)
	}
	launched, err := Launch(t.Context(), 0, []Shot{{Volley: v}, {Socket: s, Remote: remote}})
	if err != nil || launched.Shots[0].Err != nil || launched.Shots[1].Err != nil {
		t.Fatal(err, launched.Shots)
	}
	if err := s.Wait(soon(t)); err != nil {
		t.Fatal(err)
	}
	await(t, tap, "the first SYN, without all options", func(s segment) bool { return s.flags == syn })
}

func TestPresetISNWithoutPrivilege(t *testing.T) {
	nsA, _, addrA, _ := netlabtest.Pair(t)
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), Options{})
	err := withoutCapabilities(nsA, func() error { return s.PresetISN(1) })
	if missing, ok := errors.AsType[*PrivilegeError](err); !ok || missing.Capability != "CAP_NET_ADMIN" {
		t.Errorf("got %v, want a PrivilegeError about CAP_NET_ADMIN", err)
	}
}
