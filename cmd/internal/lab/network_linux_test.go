package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"tcppunch/rawsock/netlab/netlabtest"
)

// build makes the network of two profiles, which ends with the test.
func build(t testing.TB, a, b string, delay time.Duration) *Network {
	t.Helper()
	return buildOf(t, profile(t, a), profile(t, b), delay)
}

func buildOf(t testing.TB, a, b Profile, delay time.Duration) *Network {
	t.Helper()
	netlabtest.Require(t)
	n, err := Build(PlanNetwork(a, b, Link{Delay: delay}), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close network: %v", err)
		}
	})
	return n
}

func (n *Network) listen(t testing.TB, node, address string) *net.TCPListener {
	t.Helper()
	var l net.Listener
	err := n.namespaces[node].Do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// dial connects from a node. An unanswered attempt ends with a timeout after
// half a second, before the kernel's first retransmission.
func (n *Network) dial(t testing.TB, node string, port int, to string) (net.Conn, error) {
	t.Helper()
	d := net.Dialer{Timeout: 500 * time.Millisecond, LocalAddr: &net.TCPAddr{Port: port}, Control: reusePort}
	var c net.Conn
	var err error
	eventually(func() bool {
		err = n.namespaces[node].Do(func() (err error) {
			c, err = d.DialContext(context.Background(), "tcp", to)
			return err
		})
		return !errors.Is(err, syscall.EADDRNOTAVAIL) // the same ends are still saying goodbye
	})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func reusePort(_, _ string, raw syscall.RawConn) (err error) {
	raw.Control(func(fd uintptr) {
		err = errors.Join(syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, 15, 1)) // SO_REUSEPORT
	})
	return err
}

// reflexive is a client's address as a listener sees it.
func (n *Network) reflexive(t testing.TB, node string, port int, l *net.TCPListener, to string) netip.AddrPort {
	t.Helper()
	if _, err := n.dial(t, node, port, to); err != nil {
		t.Fatalf("dial %s from %s: %v", to, node, err)
	}
	l.SetDeadline(time.Now().Add(2 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func TestUnsolicitedSYNIsAnsweredAsTheProfileSays(t *testing.T) {
	for _, c := range []struct {
		profile, to string
		reset       bool
	}{
		{"public", "198.51.100.1:5000", true},
		{"public", "[2001:db8:a::1]:5000", true},
		{"firewall", "198.51.100.1:5000", false},
		{"firewall6", "[2001:db8:a::1]:5000", false},
		{"linux", "198.51.100.1:5000", false},
		{"linux-random", "198.51.100.1:5000", false},
		{"linux-accept", "198.51.100.1:5000", true},
		{"openwrt", "198.51.100.1:5000", true},
		{"bridge-lab", "198.51.100.1:5000", true},
		{"unsolicited=rst,ports=random", "198.51.100.1:5000", true},
	} {
		for _, delay := range []time.Duration{0, 2 * time.Millisecond} {
			t.Run(c.profile+" "+c.to+" "+delay.String(), func(t *testing.T) {
				t.Parallel()
				n := build(t, c.profile, "public", delay)
				_, err := n.dial(t, "b", 0, c.to)
				if c.reset && !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("got %v, want a refusal", err)
				}
				if !c.reset && !isTimeout(err) {
					t.Errorf("got %v, want silence", err)
				}
				if box, ok := n.Scenario.Node("nat-a"); ok {
					if got, err := n.Unsolicited(box.Name); got != 1 || err != nil {
						t.Errorf("the box counted %d unsolicited packets (%v), want 1", got, err)
					}
				}
			})
		}
	}
}

func TestLinuxMapsEveryDestinationToTheSamePreservedPort(t *testing.T) {
	for _, name := range []string{"linux", "openwrt", "linux-accept", "bridge-lab", "same-nat"} {
		t.Run(name, func(t *testing.T) {
			n := build(t, name, name, 2*time.Millisecond)
			l1, l2 := n.listen(t, "coordinator", "192.0.2.10:7001"), n.listen(t, "coordinator", "192.0.2.11:7002")
			want := netip.MustParseAddrPort("198.51.100.1:4321")
			if got := n.reflexive(t, "a", 4321, l1, "192.0.2.10:7001"); got != want {
				t.Errorf("first destination saw %v, want %v", got, want)
			}
			if got := n.reflexive(t, "a", 4321, l2, "192.0.2.11:7002"); got != want {
				t.Errorf("second destination saw %v, want %v", got, want)
			}
		})
	}
}

func TestLinuxRandomMapsEveryConnectionToAnotherPort(t *testing.T) {
	n := build(t, "linux-random", "linux", 2*time.Millisecond)
	seen := map[uint16]bool{}
	for _, to := range []string{"192.0.2.10:7001", "192.0.2.10:7002", "192.0.2.11:7001", "192.0.2.11:7002"} {
		seen[n.reflexive(t, "a", 4321, n.listen(t, "coordinator", to), to).Port()] = true
	}
	if len(seen) < 3 || seen[4321] {
		t.Errorf("four connections got ports %v, want random ones", seen)
	}
}

func TestFirewallKeepsTheAddress(t *testing.T) {
	for _, c := range []struct{ name, listen, want string }{
		{"firewall", "192.0.2.10:7001", "198.51.100.1:4321"},
		{"firewall6", "[2001:db8:0:10::10]:7001", "[2001:db8:a::1]:4321"},
	} {
		for _, delay := range []time.Duration{0, 2 * time.Millisecond} {
			n := build(t, c.name, "public", delay)
			got := n.reflexive(t, "a", 4321, n.listen(t, "coordinator", c.listen), c.listen)
			if got != netip.MustParseAddrPort(c.want) {
				t.Errorf("%s, delay %v: the server saw %v, want %v", c.name, delay, got, c.want)
			}
		}
	}
}

func TestChainsTranslateTwice(t *testing.T) {
	for name, inner := range map[string]string{
		"linux+port-restricted":              "100.64.1.2",
		"port-restricted+linux":              "100.64.1.2",
		"port-restricted+port-restricted":    "100.64.1.2",
		"linux+linux":                        "100.64.1.2",
		"openwrt+cgn-eim-block+linux-random": "100.64.1.2",
	} {
		t.Run(name, func(t *testing.T) {
			n := build(t, name, "public", 2*time.Millisecond)
			l := n.listen(t, "coordinator", "192.0.2.10:7001")
			got := n.reflexive(t, "a", 4321, l, "192.0.2.10:7001")
			if got.Addr() != netip.MustParseAddr("198.51.100.1") {
				t.Errorf("the server saw %v, want the outermost box", got)
			}
			between := func(m Mapping) bool { return m.Box == "nat-a" && m.Outside.Addr() == netip.MustParseAddr(inner) }
			if !eventually(func() bool { return slices.ContainsFunc(n.Mappings(), between) }) {
				t.Errorf("the boxes told %+v, want nat-a at %s", n.Mappings(), inner)
			}
		})
	}
}

func TestSameNATDoesNotHairpin(t *testing.T) {
	n := build(t, "same-nat", "same-nat", 2*time.Millisecond)
	l := n.listen(t, "coordinator", "192.0.2.10:7001")
	n.listen(t, "b", "0.0.0.0:5555") // what a hairpinning NAT would reach
	if _, err := n.dial(t, "a", 0, "192.168.1.3:5555"); err != nil {
		t.Errorf("inside, A reached B with %v, want a connection", err)
	}
	n.reflexive(t, "a", 4321, l, "192.0.2.10:7001")
	if _, err := n.dial(t, "a", 4322, "198.51.100.1:5555"); !isTimeout(err) {
		t.Errorf("through the outside, A reached B with %v, want silence", err)
	}
}

func TestDelayIsOneWayBetweenAnyTwoHosts(t *testing.T) {
	const delay = 15 * time.Millisecond
	n := build(t, "linux", "public", delay)
	n.listen(t, "b", "203.0.113.1:5000")
	least := time.Hour // a busy machine adds to some
	for range 10 {
		started := time.Now()
		if _, err := n.dial(t, "a", 0, "203.0.113.1:5000"); err != nil {
			t.Fatal(err)
		}
		took := time.Since(started)
		if took < 2*delay {
			t.Errorf("a round trip took %v, want no less than %v", took, 2*delay)
		}
		least = min(least, took)
	}
	if least > 2*delay+10*time.Millisecond {
		t.Errorf("the quickest of ten round trips took %v, want %v", least, 2*delay)
	}
}

func TestBoxesTellTheirMappings(t *testing.T) {
	n := build(t, "linux", "linux-accept", time.Millisecond)
	n.reflexive(t, "a", 4321, n.listen(t, "coordinator", "192.0.2.10:7001"), "192.0.2.10:7001")
	if _, err := n.dial(t, "a", 4321, "203.0.113.1:6000"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refusal", err)
	}
	want := []Mapping{
		{Box: "nat-a", Change: Created, State: "SYN_SENT", Inside: netip.MustParseAddrPort("192.168.1.2:4321"), Outside: netip.MustParseAddrPort("198.51.100.1:4321"), Peer: netip.MustParseAddrPort("192.0.2.10:7001")},
		{Box: "nat-a", Change: Created, State: "SYN_SENT", Inside: netip.MustParseAddrPort("192.168.1.2:4321"), Outside: netip.MustParseAddrPort("198.51.100.1:4321"), Peer: netip.MustParseAddrPort("203.0.113.1:6000")},
		{Box: "nat-b", Change: Created, State: "SYN_SENT", Inbound: true, Inside: netip.MustParseAddrPort("203.0.113.1:6000"), Outside: netip.MustParseAddrPort("203.0.113.1:6000"), Peer: netip.MustParseAddrPort("198.51.100.1:4321")},
	}
	for _, w := range want {
		w.Protocol = "tcp"
		if !eventually(func() bool { return n.has(w) }) {
			t.Errorf("the boxes told %+v, want among them %+v", n.Mappings(), w)
		}
	}
}

// has says whether an event was seen, whenever that was.
func (n *Network) has(want Mapping) bool {
	for _, m := range n.Mappings() {
		want.At = m.At
		if m == want {
			return true
		}
	}
	return false
}

// eventually polls what another process does and nothing announces.
func eventually(f func() bool) bool {
	limit := time.NewTimer(2 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-limit.C:
			return f()
		case <-tick.C:
		}
	}
	return true
}
