package netlab_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	inside  = netip.MustParsePrefix("10.0.0.1/24")
	outside = netip.MustParsePrefix("203.0.113.1/32")
)

// oneToOne translates one inside address to an outside one and back, and holds
// what goes out for a while, to use all of the interface.
type oneToOne struct {
	t    testing.TB
	from netip.Addr // inside
	to   netip.Addr // outside
	hold time.Duration
	held []netlab.Emission
	due  time.Time
	last time.Time
}

func (m *oneToOne) Next() time.Time { return m.due }

func (m *oneToOne) Process(p []byte, d netlab.Direction, now time.Time) []netlab.Emission {
	if now.Before(m.last) {
		m.t.Errorf("time went back by %v", m.last.Sub(now))
	}
	m.last = now
	switch d {
	case netlab.Outbound:
		m.held = append(m.held, netlab.Emission{Direction: d, Packet: m.rewrite(p, d)})
		m.due = now.Add(m.hold)
		return nil
	case netlab.Inbound:
		return []netlab.Emission{{Direction: d, Packet: m.rewrite(p, d)}}
	}
	if p != nil || now.Before(m.due) {
		m.t.Errorf("deadline %v: called at %v with %x", m.due, now, p)
	}
	out := m.held
	m.held, m.due = nil, time.Time{}
	return out
}

func (m *oneToOne) rewrite(p []byte, d netlab.Direction) []byte {
	var ip layers.IPv4
	var tcp layers.TCP
	var payload gopacket.Payload
	var decoded []gopacket.LayerType
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &ip, &tcp, &payload)
	if err := parser.DecodeLayers(p, &decoded); err != nil {
		m.t.Errorf("%v: %x", err, p)
		return p
	}
	if d == netlab.Outbound {
		ip.SrcIP = net.IP(m.to.AsSlice())
	} else {
		ip.DstIP = net.IP(m.from.AsSlice())
	}
	tcp.SetNetworkLayerForChecksum(&ip)
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, &ip, &tcp, payload); err != nil {
		m.t.Error(err)
	}
	return bytes.Clone(b.Bytes())
}

func TestMiddleboxSitsBetweenDeviceAndLink(t *testing.T) {
	const delay, hold = 5 * time.Millisecond, 10 * time.Millisecond
	var r trace
	a, b := netlabtest.Namespace(t, "a"), netlabtest.Namespace(t, "b")
	c := newCore(t, netlab.CoreConfig{Observe: r.observe})
	attach(t, c, netlab.PortConfig{
		Namespace: a, Name: "a0", Addresses: []netip.Prefix{inside}, Routed: []netip.Prefix{outside},
		Link: netlab.Link{Delay: delay}, Middlebox: &oneToOne{t: t, from: inside.Addr(), to: outside.Addr(), hold: hold},
	})
	attach(t, c, netlab.PortConfig{Namespace: b, Name: "b0", Addresses: []netip.Prefix{b4}})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	l := listen(t, b, b4.Addr())
	conn, took, err := dial(a, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if took < hold+2*delay {
		t.Errorf("connect: got %v, want at least %v", took, hold+2*delay)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if got := peer.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); got != outside.Addr() {
		t.Errorf("the server sees %v, want %v", got, outside.Addr())
	}
	syn := r.of(netlab.Entered)[0].Packet
	if got := netip.AddrFrom4([4]byte(syn[12:16])); got != outside.Addr() {
		t.Errorf("the core sees %v, want %v", got, outside.Addr())
	}
}

func TestTheBoxesOfAChainTranslateInTurn(t *testing.T) {
	shared := netip.MustParseAddr("100.64.0.2") // between the two boxes, RFC 6598
	a, b := netlabtest.Namespace(t, "a"), netlabtest.Namespace(t, "b")
	c := newCore(t, netlab.CoreConfig{})
	attach(t, c, netlab.PortConfig{
		Namespace: a, Name: "a0", Addresses: []netip.Prefix{inside}, Routed: []netip.Prefix{outside},
		Middlebox: netlab.Chain(
			&oneToOne{t: t, from: inside.Addr(), to: shared, hold: time.Millisecond},
			&oneToOne{t: t, from: shared, to: outside.Addr(), hold: 2 * time.Millisecond}),
	})
	attach(t, c, netlab.PortConfig{Namespace: b, Name: "b0", Addresses: []netip.Prefix{b4}})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if got := peerOf(t, a, b, b4.Addr()); got != outside.Addr() {
		t.Errorf("the server sees %v, want %v", got, outside.Addr())
	}
}

// peerOf connects two namespaces and returns the address that the server sees.
func peerOf(t *testing.T, client, server *netlab.Namespace, address netip.Addr) netip.Addr {
	t.Helper()
	l := listen(t, server, address)
	conn, _, err := dial(client, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	return peer.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
}

// A private segment: a client, an emulated box, and a kernel that routes on.
var (
	segmentClient = netip.MustParsePrefix("100.64.0.2/24")
	segmentRouter = netip.MustParsePrefix("100.64.0.1/24")
	beyond        = netip.MustParsePrefix("192.0.2.1/24")
	beyondRouter  = netip.MustParsePrefix("192.0.2.254/24")
	everything    = netip.MustParsePrefix("0.0.0.0/0")
)

// segment joins a client with an inside address to a router by a wire with a
// box, and the router to a server by a cable.
func segment(t *testing.T, k netlab.DeviceKind, address netip.Prefix, box netlab.Middlebox, observe func(netlab.Passage)) (client, server *netlab.Namespace) {
	t.Helper()
	client, server = netlabtest.Namespace(t, "client"), netlabtest.Namespace(t, "server")
	router := netlabtest.Namespace(t, "router")
	if err := netlab.Veth(router, "wan", server, "eth0"); err != nil {
		t.Fatal(err)
	}
	c := newCore(t, netlab.CoreConfig{Hops: netlab.NoHops, Observe: observe})
	attach(t, c, netlab.PortConfig{Namespace: client, Name: "eth0", Addresses: []netip.Prefix{address},
		Routed: []netip.Prefix{netip.PrefixFrom(segmentClient.Addr(), 32)}, Middlebox: box, Device: k})
	attach(t, c, netlab.PortConfig{Namespace: router, Name: "lan", Addresses: []netip.Prefix{segmentRouter},
		Routed: []netip.Prefix{everything}, Device: k})
	for _, err := range []error{
		router.AddAddress("wan", beyondRouter), server.AddAddress("eth0", beyond),
		server.AddRoute(everything, beyondRouter.Addr(), ""), router.Sysctl("net.ipv4.ip_forward", "1"), c.Start(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return client, server
}

func TestABoxOnAWireTranslatesBeforeAKernelRouter(t *testing.T) {
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		client, server := segment(t, k, inside, &oneToOne{t: t, from: inside.Addr(), to: segmentClient.Addr()}, nil)
		if got := peerOf(t, client, server, beyond.Addr()); got != segmentClient.Addr() {
			t.Errorf("the server sees %v, want %v", got, segmentClient.Addr())
		}
	})
}

// bump passes everything on, as it is.
type bump struct{ out [1]netlab.Emission }

func newBump() netlab.Middlebox { return new(bump) }

func (*bump) Next() time.Time { return time.Time{} }

func (b *bump) Process(p []byte, d netlab.Direction, _ time.Time) []netlab.Emission {
	b.out[0] = netlab.Emission{Direction: d, Packet: p}
	return b.out[:]
}

func TestAWireKeepsTheTTL(t *testing.T) {
	var r trace
	client, server := segment(t, netlab.Auto, segmentClient, newBump(), r.observe)
	sink(t, server)
	to := netip.AddrPortFrom(beyond.Addr(), 9)
	if e := send(t, client, to, 1).receive(t); e.kind != 11 || e.from != segmentRouter.Addr() {
		t.Errorf("TTL 1: got ICMP %d/%d from %v, want time exceeded from the kernel at %v", e.kind, e.code, e.from, segmentRouter.Addr())
	}
	fd := receiver(t, client)
	number(t, server, segmentClient.Addr(), 1, 100) // TTL 64, less the router
	collect(t, fd, 1)
	for _, p := range r.of(netlab.Delivered) {
		want := byte(1)
		if p.From == "lan" {
			want = map[byte]byte{1: 64, 17: 63}[p.Packet[9]] // ICMP of the router itself, UDP of the server
		}
		if p.Packet[8] != want {
			t.Errorf("from %s to %s: got TTL %d, want %d", p.From, p.To, p.Packet[8], want)
		}
	}
}

func TestAWireLosesWhatHasNoOtherPort(t *testing.T) {
	var r trace
	a, b := netlabtest.Namespace(t, "a"), netlabtest.Namespace(t, "b")
	c := newCore(t, netlab.CoreConfig{Hops: netlab.NoHops, Observe: r.observe})
	attach(t, c, netlab.PortConfig{Namespace: a, Name: "a0", Addresses: []netip.Prefix{segmentClient}})
	attach(t, c, netlab.PortConfig{Namespace: b, Name: "b0", Addresses: []netip.Prefix{segmentRouter}, Routed: []netip.Prefix{everything}})
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	send(t, b, netip.MustParseAddrPort("100.64.0.77:9"), 64) // on-link, but not there
	eventually(t, func() bool { return c.Lateness().Dropped.Unreachable == 1 })
	if got := c.Lateness().Delivered; got != 0 {
		t.Errorf("got %d packets delivered, want none, not even an ICMP error", got)
	}
}
