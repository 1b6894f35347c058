package netlab_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

func TestMain(m *testing.M) { netlabtest.Main(m) }

var (
	a4 = netip.MustParsePrefix("203.0.113.1/32")
	a6 = netip.MustParsePrefix("2001:db8:a::1/128")
	b4 = netip.MustParsePrefix("192.0.2.1/32")
	b6 = netip.MustParsePrefix("2001:db8:b::1/128")
)

// trace collects passages.
type trace struct {
	mu       sync.Mutex
	passages []netlab.Passage
}

func (r *trace) observe(p netlab.Passage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.Packet = bytes.Clone(p.Packet)
	r.passages = append(r.passages, p)
}

// of returns the passages of one event, in order.
func (r *trace) of(e netlab.Event) []netlab.Passage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.passages), func(p netlab.Passage) bool { return p.Event != e })
}

// network is two namespaces with a core between them.
type network struct {
	a, b *netlab.Namespace
	core *netlab.Core
	trace
}

func newNetwork(t testing.TB, kind netlab.DeviceKind, link netlab.Link) *network {
	t.Helper()
	return newNetworkWith(t, kind, link, netlab.CoreConfig{Seed: 1}, true)
}

func newNetworkWith(t testing.TB, kind netlab.DeviceKind, link netlab.Link, c netlab.CoreConfig, traced bool) *network {
	t.Helper()
	n := &network{a: netlabtest.Namespace(t, "a"), b: netlabtest.Namespace(t, "b")}
	if traced {
		c.Observe = n.observe
	}
	n.core = newCore(t, c)
	attach(t, n.core, netlab.PortConfig{Namespace: n.a, Name: "a0", Addresses: []netip.Prefix{a4, a6}, Link: link, Device: kind})
	attach(t, n.core, netlab.PortConfig{Namespace: n.b, Name: "b0", Addresses: []netip.Prefix{b4, b6}, Link: link, Device: kind})
	if err := n.core.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// newCore makes a core that ends with the test.
func newCore(t testing.TB, c netlab.CoreConfig) *netlab.Core {
	t.Helper()
	core, err := netlab.NewCore(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := core.Close(); err != nil {
			t.Errorf("close core: %v", err)
		}
	})
	return core
}

func attach(t testing.TB, c *netlab.Core, p netlab.PortConfig) {
	t.Helper()
	err := c.Attach(p)
	if p.Device == netlab.TUN && (errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist)) {
		skip(t, fmt.Sprintf("no TUN device for this user: %v", err))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// skip gives up a test for a reason that holds for ordinary users of many
// machines; for root it is a failure where the lab is required.
func skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("TCPPUNCH_TEST") == "require-lab" && netlabtest.Root() {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

func bothKinds(t *testing.T, f func(*testing.T, netlab.DeviceKind)) {
	for _, k := range []netlab.DeviceKind{netlab.TUN, netlab.Packet} {
		t.Run(k.String(), func(t *testing.T) { f(t, k) })
	}
}

func listen(t testing.TB, n *netlab.Namespace, addr netip.Addr) net.Listener {
	t.Helper()
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(n *netlab.Namespace, to string) (c net.Conn, took time.Duration, err error) {
	err = n.Do(func() (err error) {
		start := time.Now()
		c, err = net.DialTimeout("tcp", to, 5*time.Second)
		took = time.Since(start)
		return err
	})
	return c, took, err
}

func TestConnectTakesOneRoundTrip(t *testing.T) {
	const oneWay = 20 * time.Millisecond
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		n := newNetwork(t, k, netlab.Link{Delay: oneWay / 2})
		for _, to := range []netip.Prefix{b4, b6} {
			l := listen(t, n.b, to.Addr())
			best := time.Hour // of three, since the machine may be busy
			for range 3 {
				c, took, err := dial(n.a, l.Addr().String())
				if err != nil {
					t.Fatalf("dial %v: %v", to, err)
				}
				c.Close()
				best = min(best, took)
			}
			if best < 2*oneWay || best > 3*oneWay {
				t.Errorf("connect to %v: got %v, want %v to %v", to, best, 2*oneWay, 3*oneWay)
			}
		}
	})
}

func TestDelayIsExactByTheCoresOwnTimestamps(t *testing.T) {
	const oneWay = 20 * time.Millisecond
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		n := newNetwork(t, k, netlab.Link{Delay: oneWay / 2})
		echo(t, n, 20)
		entered := map[uint64]netlab.Passage{}
		for _, p := range n.of(netlab.Entered) {
			entered[p.ID] = p
		}
		var late []time.Duration
		for _, p := range n.of(netlab.Delivered) {
			e := entered[p.ID]
			if got := p.Due - e.At; got != oneWay {
				t.Fatalf("due after %v, want %v", got, oneWay)
			}
			if wall := p.Wall.Sub(e.Wall) - (p.At - e.At); wall.Abs() > time.Millisecond {
				t.Errorf("wall and monotonic clocks differ by %v", wall)
			}
			late = append(late, p.At-p.Due)
		}
		if len(late) < 40 {
			t.Fatalf("got %d packets, want at least 40", len(late))
		}
		slices.Sort(late)
		median := late[len(late)/2]
		t.Logf("lateness: median %v, worst %v; core says %+v", median, late[len(late)-1], n.core.Lateness())
		if late[0] < 0 || median > 5*time.Millisecond {
			t.Errorf("lateness: got least %v, median %v, want 0 to 5ms", late[0], median)
		}
	})
}

// TestACoreThatDoesNotSpinTakesLessOfTheProcessor and is not early either.
func TestACoreThatDoesNotSpinTakesLessOfTheProcessor(t *testing.T) {
	least := map[bool]time.Duration{false: time.Hour, true: time.Hour} // of three, since the machine may be busy
	for range 3 {
		for noSpin := range least {
			n := newNetworkWith(t, netlab.Auto, netlab.Link{Delay: time.Millisecond}, netlab.CoreConfig{NoSpin: noSpin}, true)
			echo(t, n, 50)
			took, err := n.core.CPUTime()
			if err != nil {
				t.Fatal(err)
			}
			least[noSpin] = min(least[noSpin], took)
			for _, p := range n.of(netlab.Delivered) {
				if p.At < p.Due {
					t.Fatalf("without spinning %t a packet is %v early", noSpin, p.Due-p.At)
				}
			}
		}
	}
	t.Logf("%v with and %v without spinning", least[false], least[true])
	if least[true] >= least[false] {
		t.Errorf("without spinning the core took %v, with it %v", least[true], least[false])
	}
}

// echo sends bytes from a to b and back, one at a time.
func echo(t testing.TB, n *network, rounds int) {
	t.Helper()
	l := listen(t, n.b, b4.Addr())
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
			c.Close()
		}
		served <- err
	}()
	c, _, err := dial(n.a, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0}
	for range rounds {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

func TestMegabyteArrivesUnchanged(t *testing.T) {
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		n := newNetwork(t, k, netlab.Link{Delay: time.Millisecond})
		sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		if got := transfer(t, n, sent); !bytes.Equal(got, sent) {
			t.Errorf("got %d bytes, want the %d that were sent", len(got), len(sent))
		}
	})
}

func transfer(t testing.TB, n *network, data []byte) []byte {
	t.Helper()
	l := listen(t, n.b, b6.Addr())
	received := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			received <- nil
			return
		}
		got, _ := io.ReadAll(c)
		c.Close()
		received <- got
	}()
	c, _, err := dial(n.a, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	c.Close()
	return <-received
}

func TestLossOfOneDropsAll(t *testing.T) {
	n := newNetwork(t, netlab.Auto, netlab.Link{Loss: 1})
	send(t, n.a, netip.AddrPortFrom(b4.Addr(), 9), 64)
	eventually(t, func() bool { return n.core.Lateness().Dropped.Lost == 1 })
	if got := n.core.Lateness().Delivered; got != 0 {
		t.Errorf("got %d packets delivered, want 0", got)
	}
}

func TestUnknownDestinationIsUnreachable(t *testing.T) {
	// With a delay, since TCP only notes an error that comes during connect(2).
	n := newNetwork(t, netlab.Auto, netlab.Link{Delay: time.Millisecond})
	for _, to := range []string{"198.51.100.77:9", "[2001:db8:c::1]:9"} {
		_, _, err := dial(n.a, to)
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("dial %v: got %v, want unreachable at once", to, err)
		}
	}
	if got := n.core.Lateness().Dropped.Unreachable; got < 2 {
		t.Errorf("got %d unreachable, want at least 2", got)
	}
}

func TestAttachRefusesWhatCannotBe(t *testing.T) {
	ns := netlabtest.Namespace(t, "a")
	c, err := netlab.NewCore(netlab.CoreConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	good := netlab.PortConfig{Namespace: ns, Name: "a0", Addresses: []netip.Prefix{a4}}
	attach(t, c, good)
	twice := good
	twice.Name = "a1"
	lossy := netlab.PortConfig{Namespace: ns, Name: "a2", Link: netlab.Link{Loss: 2}}
	long := netlab.PortConfig{Namespace: ns, Name: "a-name-too-long!"}
	for _, p := range []netlab.PortConfig{twice, lossy, long, {Name: "a3"}} {
		if err := c.Attach(p); err == nil {
			t.Errorf("attach %+v: got no error", p)
		}
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Attach(netlab.PortConfig{Namespace: ns, Name: "a4"}); err == nil {
		t.Error("attach after start: got no error")
	}
}

func TestChecksumsLeftToHardwareAreCompleted(t *testing.T) {
	n := newNetwork(t, netlab.Packet, netlab.Link{})
	for ns, link := range map[*netlab.Namespace]string{n.a: "a0", n.b: "b0"} {
		if err := ns.Do(func() error { return netlab.LeaveChecksumsToHardware(link) }); err != nil {
			t.Fatal(err)
		}
	}
	sent := bytes.Repeat([]byte("odd"), 3333)
	if got := transfer(t, n, sent); !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes, want the %d that were sent", len(got), len(sent))
	}
	for _, p := range n.of(netlab.Entered) {
		if !wholeChecksum(p.Packet) {
			t.Fatalf("got a packet with a wrong checksum: %x", p.Packet)
		}
	}
}

// wholeChecksum tells whether the TCP checksum of an IPv6 packet without
// extension headers is right: then all words add up to 0xffff.
func wholeChecksum(p []byte) bool {
	sum := uint32(p[6]) + uint32(len(p)-40)
	for i, b := range p[8:] {
		sum += uint32(b) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == 0xffff
}

func TestALabOpensAndClosesQuickly(t *testing.T) {
	start := time.Now()
	n := newNetwork(t, netlab.Auto, netlab.Link{})
	opened := time.Now()
	if err := errors.Join(n.core.Close(), n.a.Close(), n.b.Close()); err != nil {
		t.Fatal(err)
	}
	t.Logf("opened in %v, closed in %v", opened.Sub(start), time.Since(opened))
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("got %v, want less than 2 s", took)
	}
}
