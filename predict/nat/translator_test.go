package nat

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	external = netip.MustParseAddr("203.0.113.1")
	start    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	inside   = netip.MustParseAddrPort("192.168.0.2:5000")
	server   = netip.MustParseAddrPort("198.51.100.1:80")
	sibling  = netip.MustParseAddrPort("198.51.100.1:81") // another port of server
	stranger = netip.MustParseAddrPort("198.51.100.9:80") // another address
)

func translator(t *testing.T, c Config) *Translator {
	t.Helper()
	c.External = []netip.Addr{external}
	n, err := NewTranslator(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dial sends a SYN out and returns the outside endpoint that it got.
func dial(t *testing.T, n *Translator, from, to netip.AddrPort, now time.Time) netip.AddrPort {
	t.Helper()
	a := n.Outbound(Packet{From: from, To: to, Flags: SYN, Seq: 7}, now)
	if a.Verdict != Forwarded {
		t.Fatalf("SYN %v to %v: %v (%s), want forwarded", from, to, a.Verdict, a.Reason)
	}
	return a.Packet.From
}

func TestMappingIsReusedAsFarAsItsDefinitionSays(t *testing.T) {
	for _, test := range []struct {
		mapping                          Mapping
		samePort, sameAddr, sameEndpoint bool // reused for sibling, stranger, server again after a close
	}{
		{EndpointIndependent, true, true, true},
		{AddressDependent, true, false, true},
		{AddressAndPortDependent, false, false, true},
		{PerConnection, false, false, false},
	} {
		n := translator(t, Config{Mapping: test.mapping, Ports: Random, Seed: 1})
		first := dial(t, n, inside, server, start)
		if got := dial(t, n, inside, server, start) == first; !got {
			t.Errorf("%v: a retransmitted SYN got another mapping", test.mapping)
		}
		if got := dial(t, n, inside, sibling, start) == first; got != test.samePort {
			t.Errorf("%v: other port of the same address: reused %v, want %v", test.mapping, got, test.samePort)
		}
		if got := dial(t, n, inside, stranger, start) == first; got != test.sameAddr {
			t.Errorf("%v: other address: reused %v, want %v", test.mapping, got, test.sameAddr)
		}
		n.Outbound(Packet{From: inside, To: server, Flags: FIN | ACK}, start)
		if got := dial(t, n, inside, server, start) == first; got != test.sameEndpoint {
			t.Errorf("%v: new connection to the same endpoint: reused %v, want %v", test.mapping, got, test.sameEndpoint)
		}
	}
}

func TestFilterAdmitsWhomItsDefinitionSays(t *testing.T) {
	for _, test := range []struct {
		filtering         Filtering
		sibling, stranger Verdict
	}{
		{FilterEndpointIndependent, Forwarded, Forwarded},
		{FilterAddressDependent, Forwarded, Dropped},
		{FilterAddressAndPortDependent, Dropped, Dropped},
	} {
		n := translator(t, Config{Filtering: test.filtering})
		outside := dial(t, n, inside, server, start)
		for from, want := range map[netip.AddrPort]Verdict{server: Forwarded, sibling: test.sibling, stranger: test.stranger} {
			a := n.Inbound(Packet{From: from, To: outside, Flags: SYN}, start)
			if a.Verdict != want {
				t.Errorf("%v, SYN from %v: got %v, want %v", test.filtering, from, a.Verdict, want)
			}
			if a.Verdict == Forwarded && (a.Packet.To != inside || a.Packet.From != from) {
				t.Errorf("%v: forwarded %v to %v, want %v to %v", test.filtering, a.Packet.From, a.Packet.To, from, inside)
			}
		}
	}
}

func TestUnsolicitedSYNIsAnsweredAsConfigured(t *testing.T) {
	syn := Packet{From: stranger, To: netip.AddrPortFrom(external, 5000), Flags: SYN, Seq: 1000}
	for _, test := range []struct {
		unsolicited Unsolicited
		want        Verdict
	}{{Drop, Dropped}, {Reset, Refused}, {Unreachable, Rejected}} {
		n := translator(t, Config{Unsolicited: test.unsolicited})
		a := n.Inbound(syn, start)
		if a.Verdict != test.want {
			t.Errorf("%v: got %v, want %v", test.unsolicited, a.Verdict, test.want)
		}
		want := Packet{Protocol: TCP, From: syn.To, To: syn.From, Flags: RST | ACK, Ack: 1001}
		if a.Verdict == Refused && a.Packet != want {
			t.Errorf("RST: got %+v, want %+v", a.Packet, want)
		}
		if a := n.Inbound(Packet{From: stranger, To: syn.To, Flags: RST}, start); a.Verdict != Dropped {
			t.Errorf("%v: a RST was answered: %v", test.unsolicited, a.Verdict)
		}
	}
}

func TestPortsAreAssignedByTheRule(t *testing.T) {
	other := netip.MustParseAddrPort("192.168.0.3:5000") // the same port on another host
	for name, test := range map[string]struct {
		config Config
		want   []uint16
	}{
		"preserving": {Config{Ports: Preserving}, []uint16{5000}},
		"sequential": {Config{Ports: Sequential, Low: 40000, High: 40005}, []uint16{40000, 40001, 40002}},
		"by 2":       {Config{Ports: Sequential, Delta: 2, Low: 40000, High: 40003}, []uint16{40000, 40002}},
		"downwards":  {Config{Ports: Sequential, Delta: -1, Low: 40000, High: 40005}, []uint16{40005, 40004, 40003}},
		"random":     {Config{Ports: Random, Low: 777, High: 777}, []uint16{777}},
	} {
		test.config.Mapping = AddressAndPortDependent
		n := translator(t, test.config)
		for i, to := range []netip.AddrPort{server, sibling, stranger}[:len(test.want)] {
			if got := dial(t, n, inside, to, start).Port(); got != test.want[i] {
				t.Errorf("%s: port %d, want %d", name, got, test.want[i])
			}
		}
	}
	n := translator(t, Config{})
	if a, b := dial(t, n, inside, server, start), dial(t, n, other, server, start); a == b {
		t.Errorf("two hosts share %v", a)
	}
}

func TestExhaustedRangeDropsTheSYN(t *testing.T) {
	n := translator(t, Config{Mapping: AddressAndPortDependent, Ports: Random, Low: 9, High: 9})
	dial(t, n, inside, server, start)
	a := n.Outbound(Packet{From: inside, To: stranger, Flags: SYN}, start)
	if a.Verdict != Dropped || a.Kind != NoPort {
		t.Errorf("got %v (%s), want dropped for want of a port", a.Verdict, a.Reason)
	}
}

func TestIdleSessionsEndAfterTheirTimeout(t *testing.T) {
	n := translator(t, Config{})
	outside := dial(t, n, inside, server, start)
	reply := Packet{From: server, To: outside, Flags: SYN | ACK}
	if a := n.Inbound(reply, start.Add(5*time.Minute)); a.Verdict != Dropped {
		t.Errorf("half-open after 5 minutes: %v, want dropped", a.Verdict)
	}
	dial(t, n, inside, server, start)
	n.Inbound(reply, start)
	n.Outbound(Packet{From: inside, To: server, Flags: ACK}, start)
	data := Packet{From: server, To: outside, Flags: ACK | PSH}
	if a := n.Inbound(data, start.Add(2*time.Hour)); a.Verdict != Forwarded {
		t.Errorf("established after 2 hours: %v (%s), want forwarded", a.Verdict, a.Reason)
	}
	if a := n.Inbound(data, start.Add(5*time.Hour)); a.Verdict != Dropped {
		t.Errorf("established after 5 hours: %v, want dropped", a.Verdict)
	}
}

// Whatever is sent, an outside port belongs to one inside endpoint, and what
// comes back in reaches the endpoint that the way out started from.
func TestTranslationIsReversible(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for _, m := range []Mapping{EndpointIndependent, AddressDependent, AddressAndPortDependent, PerConnection} {
		for _, p := range []PortAssignment{Preserving, Sequential, Random} {
			n := translator(t, Config{Mapping: m, Ports: p, Low: 2000, High: 2999, Seed: seed})
			owner := map[netip.AddrPort]netip.AddrPort{}
			byInside := map[netip.AddrPort]netip.AddrPort{}
			for range 200 {
				in := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(r.IntN(3))}), uint16(3000+r.IntN(5)))
				to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(3))}), uint16(80+r.IntN(3)))
				out := dial(t, n, in, to, start)
				if was, ok := owner[out]; ok && was != in {
					t.Fatalf("%v %v: %v belongs to %v and %v", m, p, out, was, in)
				}
				owner[out] = in
				if was, ok := byInside[in]; ok && was != out && m == EndpointIndependent {
					t.Fatalf("%v: %v has two mappings, %v and %v", m, in, was, out)
				}
				byInside[in] = out
				back := n.Inbound(Packet{From: to, To: out, Flags: SYN | ACK}, start)
				if back.Verdict != Forwarded || back.Packet.To != in {
					t.Fatalf("%v %v: answer to %v went to %v (%v), want %v", m, p, out, back.Packet.To, back.Verdict, in)
				}
			}
		}
	}
}
