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

// oneToOne translates the inside address to the outside one and back, and holds
// what goes out for a while, to use all of the interface.
type oneToOne struct {
	t    testing.TB
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
		ip.SrcIP = net.IP(outside.Addr().AsSlice())
	} else {
		ip.DstIP = net.IP(inside.Addr().AsSlice())
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
	c, err := netlab.NewCore(netlab.CoreConfig{Observe: r.observe})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	attach(t, c, netlab.PortConfig{
		Namespace: a, Name: "a0", Addresses: []netip.Prefix{inside}, Routed: []netip.Prefix{outside},
		Link: netlab.Link{Delay: delay}, Middlebox: &oneToOne{t: t, hold: hold},
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
