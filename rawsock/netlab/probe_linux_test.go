package netlab_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"

	"golang.org/x/sys/unix"
)

// eventually waits for what another thread is about to do.
func eventually(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("did not happen within 5 s")
		}
		unix.Poll(nil, 1)
	}
}

// send sends one datagram with a TTL, from a socket that collects ICMP errors.
func send(t testing.TB, n *netlab.Namespace, to netip.AddrPort, ttl int) *errorSocket {
	t.Helper()
	s := &errorSocket{v6: to.Addr().Is6()}
	err := n.Do(func() error { return s.open(ttl) })
	if err == nil {
		err = s.send(to)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

// errorSocket is a UDP socket with IP_RECVERR of ip(7).
type errorSocket struct {
	fd int
	v6 bool
}

func (s *errorSocket) open(ttl int) (err error) {
	domain, level, recverr, ttlOption := unix.AF_INET, unix.IPPROTO_IP, unix.IP_RECVERR, unix.IP_TTL
	if s.v6 {
		domain, level, recverr, ttlOption = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, unix.IPV6_UNICAST_HOPS
	}
	if s.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(s.fd, level, recverr, 1); err != nil {
		return err
	}
	return unix.SetsockoptInt(s.fd, level, ttlOption, ttl)
}

func (s *errorSocket) send(to netip.AddrPort) error {
	if s.v6 {
		return unix.Sendto(s.fd, []byte("probe"), 0, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
	}
	return unix.Sendto(s.fd, []byte("probe"), 0, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
}

// sink opens the discard port, so that nothing answers that it is closed.
func sink(t testing.TB, n *netlab.Namespace) {
	t.Helper()
	s := &errorSocket{}
	err := n.Do(func() error { return s.open(64) })
	if err == nil {
		err = unix.Bind(s.fd, &unix.SockaddrInet4{Port: 9})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
}

// icmp is an ICMP error as the kernel matched it to a socket.
type icmp struct {
	kind, code byte
	from       netip.Addr
}

// receive waits for the error.
func (s *errorSocket) receive(t testing.TB) icmp {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(s.fd)}}
	if n, err := unix.Poll(fds, 5000); n != 1 || err != nil {
		t.Fatalf("no ICMP error came within 5 s (%v)", err)
	}
	control := make([]byte, 512)
	_, n, _, _, err := unix.Recvmsg(s.fd, make([]byte, 512), control, unix.MSG_ERRQUEUE)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(messages) == 0 {
		t.Fatalf("no control message: %v", err)
	}
	return parseExtendedError(messages[0].Data)
}

// parseExtendedError reads struct sock_extended_err and the address after it.
func parseExtendedError(b []byte) icmp {
	e := icmp{kind: b[5], code: b[6]}
	address := b[16:]
	switch binary.NativeEndian.Uint16(address) {
	case unix.AF_INET:
		e.from = netip.AddrFrom4([4]byte(address[4:8]))
	case unix.AF_INET6:
		e.from = netip.AddrFrom16([16]byte(address[8:24]))
	}
	return e
}

func TestHopsAnswerWhenTheTTLRunsOut(t *testing.T) {
	want := map[netip.Prefix][]string{
		b4: {"198.18.1.1", "198.18.0.1", "198.18.1.2"},
		b6: {"2001:2::1:1", "2001:2::1", "2001:2::1:2"},
	}
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		n := newNetwork(t, k, netlab.Link{Delay: time.Millisecond})
		for to, hops := range want {
			var got []string
			for ttl := range len(hops) {
				e := send(t, n.a, netip.AddrPortFrom(to.Addr(), 9), ttl+1).receive(t)
				if e.kind != 11 && e.kind != 3 || e.code != 0 {
					t.Errorf("TTL %d to %v: got ICMP %d/%d, want time exceeded", ttl+1, to, e.kind, e.code)
				}
				got = append(got, e.from.String())
			}
			if !slices.Equal(got, hops) {
				t.Errorf("route to %v: got %v, want %v", to, got, hops)
			}
			e := send(t, n.a, netip.AddrPortFrom(to.Addr(), 9), len(hops)+1).receive(t)
			if e.from != to.Addr() {
				t.Errorf("TTL %d: got an answer from %v, want %v", len(hops)+1, e.from, to.Addr())
			}
		}
	})
}

func TestTheWayBackPassesTheSameRouters(t *testing.T) {
	n := newNetwork(t, netlab.Auto, netlab.Link{})
	var there, back []netip.Addr
	for ttl := 1; ttl <= 3; ttl++ {
		there = append(there, send(t, n.a, netip.AddrPortFrom(b4.Addr(), 9), ttl).receive(t).from)
		back = append(back, send(t, n.b, netip.AddrPortFrom(a4.Addr(), 9), ttl).receive(t).from)
	}
	slices.Reverse(back)
	if !slices.Equal(there, back) {
		t.Errorf("got %v there and, reversed, %v back", there, back)
	}
}

func TestABurstArrivesWhole(t *testing.T) {
	const packets = 8000 // fits a device's queue even if the core does not run meanwhile
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		n := newNetworkWith(t, k, netlab.Link{Delay: 20 * time.Millisecond}, netlab.CoreConfig{}, false)
		to := netip.AddrPortFrom(b4.Addr(), 9)
		sink(t, n.b)
		s := send(t, n.a, to, 64)
		for range packets - 1 {
			if err := s.send(to); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() bool {
			l := n.core.Lateness()
			return l.Delivered+l.Dropped.Overflow >= packets
		})
		if got := n.core.Lateness().Dropped; got != (netlab.Drops{}) {
			t.Errorf("got %+v, want none dropped", got)
		}
	})
}

func TestOrderIsKeptUnlessJitterDisturbsIt(t *testing.T) {
	const packets = 200
	for _, jitter := range []time.Duration{0, 5 * time.Millisecond} {
		t.Run(fmt.Sprint(jitter), func(t *testing.T) {
			n := newNetwork(t, netlab.Auto, netlab.Link{Delay: 5 * time.Millisecond, Jitter: jitter})
			sink(t, n.b)
			s := send(t, n.a, netip.AddrPortFrom(b4.Addr(), 9), 64)
			for range packets - 1 {
				if err := s.send(netip.AddrPortFrom(b4.Addr(), 9)); err != nil {
					t.Fatal(err)
				}
			}
			fromA := func() (ids []uint64) {
				for _, p := range n.of(netlab.Delivered) {
					if p.From == "a0" {
						ids = append(ids, p.ID)
					}
				}
				return ids
			}
			eventually(t, func() bool { return len(fromA()) == packets })
			if got, want := slices.IsSorted(fromA()), jitter == 0; got != want {
				t.Errorf("order kept: got %v, want %v", got, want)
			}
		})
	}
}
