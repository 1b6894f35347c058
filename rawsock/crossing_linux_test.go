package rawsock

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// distance joins two namespaces by a core with the delay on either link, and
// returns an address in each of the family of like.
func distance(t testing.TB, delay time.Duration, like netip.Addr) (nsA, nsB *netlab.Namespace, a, b netip.Addr) {
	t.Helper()
	return linked(t, netlab.Link{Delay: delay}, like)
}

// linked is distance for any link.
func linked(t testing.TB, link netlab.Link, like netip.Addr) (nsA, nsB *netlab.Namespace, a, b netip.Addr) {
	t.Helper()
	nsA, nsB = netlabtest.Namespace(t, "a"), netlabtest.Namespace(t, "b")
	core, err := netlab.NewCore(netlab.CoreConfig{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { core.Close() })
	a, b = netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("192.0.2.1")
	if like.Is6() {
		a, b = netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:b::1")
	}
	for _, end := range []struct {
		n    *netlab.Namespace
		addr netip.Addr
	}{{nsA, a}, {nsB, b}} {
		p := netlab.PortConfig{Namespace: end.n, Name: "eth0", Link: link,
			Addresses: []netip.Prefix{netip.PrefixFrom(end.addr, end.addr.BitLen())}, Device: netlab.Packet}
		if err := core.Attach(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := core.Start(); err != nil {
		t.Fatal(err)
	}
	return nsA, nsB, a, b
}

func TestCrossingSYNsOpenOneConnection(t *testing.T) {
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		nsA, nsB, addrA, addrB := distance(t, 50*time.Millisecond, like)
		a := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), Options{})
		b := openIn(t, nsB, netip.AddrPortFrom(addrB, 7002), Options{})
		taps := []*Tap{
			tapIn(t, nsA, TapConfig{Interface: "eth0", Ports: []uint16{7001}}),
			tapIn(t, nsB, TapConfig{Interface: "eth0", Ports: []uint16{7001}}),
		}
		mustConnect(t, a, b.Local())
		mustConnect(t, b, a.Local())
		for i, s := range []*Socket{a, b} {
			if err := s.Wait(soon(t)); err != nil {
				t.Fatal(err)
			}
			if called, resent := s.SYNs(); called != 1 || resent != 0 {
				t.Errorf("%v: got %d SYNs and %d retransmissions, want 1 and 0", s.Local(), called, resent)
			}
			checkCrossing(t, taps[i], s.Local())
		}
		connA, connB := take(t, a), take(t, b)
		if connA.RemoteAddr().String() != connB.LocalAddr().String() {
			t.Errorf("one end is %v, which the other takes for %v", connB.LocalAddr(), connA.RemoteAddr())
		}
	}
}

// checkCrossing reads a simultaneous open at a host's own interface: its SYN
// leaves before the peer's arrives (RFC 9293 figure 8).
func checkCrossing(t *testing.T, tap *Tap, local netip.AddrPort) {
	t.Helper()
	for _, want := range []struct {
		what  string
		flags byte
		ours  bool
	}{{"our SYN", syn, true}, {"the peer's SYN", syn, false}, {"our SYN-ACK", synAck, true}} {
		got := await(t, tap, want.what, func(segment) bool { return true })
		if got.flags&^0xc0 != want.flags || (got.source == local) != want.ours {
			t.Errorf("%v: got flags %#x from %v, want %s", local, got.flags, got.source, want.what)
		}
	}
}

func TestICMPErrorsAreUnreachable(t *testing.T) {
	for _, remote := range []string{"198.51.100.9:7000", "[2001:db8:c::9]:7000"} {
		to := netip.MustParseAddrPort(remote)
		nsA, _, addrA, _ := distance(t, time.Millisecond, to.Addr())
		s := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), Options{})
		mustConnect(t, s, to)
		if err := s.Wait(soon(t)); !errors.Is(err, ErrUnreachable) {
			t.Errorf("to %v: got %v, want %v", to, err, ErrUnreachable)
		}
	}
}
