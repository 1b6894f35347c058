package nat

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func box(t testing.TB, c Config) *Box {
	t.Helper()
	if !c.Firewall && c.External == nil {
		c.External = []netip.Addr{external}
	}
	b, err := NewBox(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ip(a netip.Addr) net.IP { return a.AsSlice() }

// network is the IP layer between two hosts.
func network(from, to netip.Addr, next layers.IPProtocol) gopacket.NetworkLayer {
	if from.Is4() {
		return &layers.IPv4{Version: 4, TTL: 60, Id: 77, Protocol: next, SrcIP: ip(from), DstIP: ip(to)}
	}
	return &layers.IPv6{Version: 6, HopLimit: 60, NextHeader: next, SrcIP: ip(from), DstIP: ip(to)}
}

// wire makes bytes with gopacket, which is the oracle for lengths and sums.
func wire(t testing.TB, stack ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// segment is a TCP segment with the options of a Linux SYN.
func segment(t testing.TB, p Packet, payload string, options ...layers.TCPOption) []byte {
	t.Helper()
	n := network(p.From.Addr(), p.To.Addr(), layers.IPProtocolTCP)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(p.From.Port()), DstPort: layers.TCPPort(p.To.Port()), Seq: p.Seq, Ack: p.Ack, Window: max(p.Window, 1),
		SYN: p.Flags.Has(SYN), ACK: p.Flags.Has(ACK), RST: p.Flags.Has(RST), FIN: p.Flags.Has(FIN), PSH: p.Flags.Has(PSH), Options: options}
	tcp.SetNetworkLayerForChecksum(n)
	return wire(t, n.(gopacket.SerializableLayer), tcp, gopacket.Payload(payload))
}

func datagramUDP(t testing.TB, from, to netip.AddrPort, payload string) []byte {
	t.Helper()
	n := network(from.Addr(), to.Addr(), layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	udp.SetNetworkLayerForChecksum(n)
	return wire(t, n.(gopacket.SerializableLayer), udp, gopacket.Payload(payload))
}

func option(kind layers.TCPOptionKind, data ...byte) layers.TCPOption {
	return layers.TCPOption{OptionType: kind, OptionLength: uint8(len(data) + 2), OptionData: data}
}

// one demands exactly one emission, to that side.
func one(t testing.TB, got []Emission, inside bool) []byte {
	t.Helper()
	if len(got) != 1 || got[0].Inside != inside {
		t.Fatalf("got %d emissions %+v, want one to the inside: %v", len(got), got, inside)
	}
	return bytes.Clone(got[0].Packet)
}

// same demands that a packet is what the oracle makes.
func same(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\ngot  %x\nwant %x", what, got, want)
	}
}

func TestTranslatedSegmentsAreWhatGopacketWouldMake(t *testing.T) {
	b := box(t, Config{Ports: Random, Seed: 1})
	sent := seg(inside, server, SYN)
	got := one(t, b.Outbound(segment(t, sent, "", option(layers.TCPOptionKindMSS, 5, 180)), start), false)
	d, _ := cut(got, false)
	out, _ := d.tcp(false)
	want := sent
	want.From = out.From
	same(t, "SYN", got, segment(t, want, "", option(layers.TCPOptionKindMSS, 5, 180)))
	if out.From.Addr() != external || out.From.Port() == inside.Port() {
		t.Errorf("left from %v, want a random port of %v", out.From, external)
	}
	for _, payload := range []string{"", "a", "abc", "abcd\xff\xff"} {
		answer := seg(server, out.From, ACK|PSH)
		back := answer
		back.To = inside
		same(t, "answer "+payload, one(t, b.Inbound(segment(t, answer, payload), start), true), segment(t, back, payload))
	}
}

func TestUDPChecksumsAreWhatGopacketWouldMake(t *testing.T) {
	b := box(t, Config{})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(r.Uint32()), byte(r.Uint32())}), uint16(r.Uint32()|1))
		payload := string([]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
		got := one(t, b.Outbound(datagramUDP(t, from, server, payload), start), false)
		d, _ := cut(got, false)
		out, _ := d.udp()
		same(t, "datagram", got, datagramUDP(t, out.From, server, payload))
	}
	none := datagramUDP(t, inside, server, "x")
	none[26], none[27] = 0, 0
	got := one(t, b.Outbound(none, start), false)
	if got[26] != 0 || got[27] != 0 {
		t.Errorf("a datagram without checksum got %x", got[26:28])
	}
}

func TestResetsAndErrorsOfTheBoxAreWhatGopacketWouldMake(t *testing.T) {
	v6 := netip.MustParseAddrPort("[2001:db8:a::1]:5000")
	remote6 := netip.MustParseAddrPort("[2001:db8:b::1]:6000")
	for _, test := range []struct {
		firewall bool
		p        Packet
	}{
		{false, seg(stranger, netip.AddrPortFrom(external, 5000), SYN)},
		{false, seg(stranger, netip.AddrPortFrom(external, 5000), SYN|ACK)},
		{true, seg(remote6, v6, SYN)},
	} {
		b := box(t, Config{Firewall: test.firewall, Unsolicited: Reset})
		sent := segment(t, test.p, "")
		got := one(t, b.Inbound(bytes.Clone(sent), start), false)
		d, wrong := cut(got, false)
		rst, _ := d.tcp(false)
		want := test.p
		want.Protocol = TCP
		if want = want.refuse(); wrong != "" || rst != want {
			t.Errorf("RST: got %+v (%s), want %+v", rst, wrong, want)
		}
		checkSums(t, got)

		b = box(t, Config{Firewall: test.firewall, Unsolicited: Unreachable})
		got = one(t, b.Inbound(bytes.Clone(sent), start), false)
		d, _ = cut(got, false)
		if d.icmpMessage() != errorMessage || !d.checksumHolds() || d.to != test.p.From.Addr() || d.from != test.p.To.Addr() {
			t.Errorf("ICMP: got %x", got)
		}
		same(t, "quote", d.segment[sizeICMP:], sent)
		checkSums(t, got)
	}
}

// checkSums verifies all checksums of a packet by making them anew.
func checkSums(t testing.TB, p []byte) {
	t.Helper()
	d, wrong := cut(p, false)
	if wrong != "" {
		t.Errorf("%s: %x", wrong, p)
		return
	}
	if !d.v6 && fold(sum(d.ip, 0)) != 0xffff {
		t.Errorf("wrong IP checksum: %x", p)
	}
	switch d.number {
	case numberTCP, numberUDP:
		if d.number == numberUDP && d.segment[6] == 0 && d.segment[7] == 0 {
			return
		}
		if fold(sum(d.segment, pseudoSum(d.ip, d.number, len(d.segment)))) != 0xffff {
			t.Errorf("wrong transport checksum: %x", p)
		}
	case d.icmpNumber():
		if !d.checksumHolds() {
			t.Errorf("wrong ICMP checksum: %x", p)
		}
	}
}

// unreachable is an ICMP error from a router about a packet.
func unreachable(t testing.TB, from, to netip.Addr, quote []byte) []byte {
	t.Helper()
	n := network(from, to, layers.IPProtocolICMPv4)
	return wire(t, n.(gopacket.SerializableLayer), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(11, 0)}, gopacket.Payload(quote))
}

func TestQuotedPacketsAreTranslatedWithTheirChecksums(t *testing.T) {
	router := netip.MustParseAddr("198.18.0.1")
	for name, c := range map[string]Config{"plain": {Ports: Random}, "rewritten": {Sequence: SequenceRewrite}} {
		b := box(t, c)
		sent := segment(t, seg(inside, server, SYN), "", option(layers.TCPOptionKindMSS, 5, 180))
		out := one(t, b.Outbound(bytes.Clone(sent), start), false)
		for _, n := range []int{len(out), 40, 28} {
			got := one(t, b.Inbound(unreachable(t, router, external, out[:n]), start), true)
			same(t, name+" error", got, unreachable(t, router, inside.Addr(), sent[:n]))
		}
		wrong := unreachable(t, router, external, out)
		wrong[22]++
		if got := b.Inbound(wrong, start); len(got) != 0 {
			t.Errorf("%s: a wrong ICMP checksum passed: %+v", name, got)
		}
		// An error from inside about the answer: it comes from the external address.
		d, _ := cut(out, false)
		outside, _ := d.tcp(false)
		answer := segment(t, Packet{From: server, To: outside.From, Flags: SYN | ACK, Seq: 9, Ack: outside.Seq + 1}, "")
		in := one(t, b.Inbound(bytes.Clone(answer), start), true)
		got := one(t, b.Outbound(unreachable(t, inside.Addr(), server.Addr(), in), start), false)
		same(t, name+" error from inside", got, unreachable(t, external, server.Addr(), answer))
	}
}

func TestEchoPassesWithItsIdentifierTranslated(t *testing.T) {
	b := box(t, Config{})
	echo := func(from, to netip.Addr, kind uint8, id uint16) []byte {
		return wire(t, network(from, to, layers.IPProtocolICMPv4).(gopacket.SerializableLayer),
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, 0), Id: id, Seq: 3}, gopacket.Payload("ping"))
	}
	same(t, "first", one(t, b.Outbound(echo(hostA, server.Addr(), 8, 99), start), false), echo(external, server.Addr(), 8, 99))
	got := one(t, b.Outbound(echo(hostB, server.Addr(), 8, 99), start), false)
	d, _ := cut(got, false)
	id := d.query(echoRequest).From.Port()
	if id == 99 {
		t.Fatal("two hosts share an identifier")
	}
	same(t, "second", got, echo(external, server.Addr(), 8, id))
	same(t, "reply", one(t, b.Inbound(echo(server.Addr(), external, 0, id), start), true), echo(server.Addr(), hostB, 0, 99))
	if got := b.Inbound(echo(stranger.Addr(), external, 8, 1), start); len(got) != 0 {
		t.Errorf("a ping from outside: got %+v, want nothing", got)
	}
}

func TestSelectiveAcknowledgmentsAreShifted(t *testing.T) {
	for _, padding := range [][]layers.TCPOption{{}, {option(layers.TCPOptionKindNop)}} { // at an even and at an odd offset
		if len(padding) > 0 {
			padding[0] = layers.TCPOption{OptionType: layers.TCPOptionKindNop}
		}
		b := box(t, Config{Sequence: SequenceRewrite, Seed: 8})
		out := one(t, b.Outbound(segment(t, seg(inside, server, SYN), ""), start), false)
		d, _ := cut(out, false)
		syn, _ := d.tcp(false)
		shift := syn.Seq - 1000
		sack := func(by uint32) []layers.TCPOption {
			edges := make([]byte, 0, 16)
			for _, e := range []uint32{1100, 1200, 1300, 1400} {
				e += by
				edges = append(edges, byte(e>>24), byte(e>>16), byte(e>>8), byte(e))
			}
			return append(padding[:len(padding):len(padding)], option(layers.TCPOptionKindSACK, edges...))
		}
		answer := Packet{From: server, To: syn.From, Flags: ACK, Seq: 5, Ack: 1001 + shift}
		want := answer
		want.To, want.Ack = inside, 1001
		same(t, "SACK", one(t, b.Inbound(segment(t, answer, "", sack(shift)...), start), true), segment(t, want, "", sack(0)...))
	}
}

func TestOptionsAreStrippedAndClamped(t *testing.T) {
	offered := []layers.TCPOption{option(layers.TCPOptionKindSACKPermitted), option(layers.TCPOptionKindMSS, 5, 180), option(layers.TCPOptionKindWindowScale, 7), {OptionType: layers.TCPOptionKindNop}}
	nop := layers.TCPOption{OptionType: layers.TCPOptionKindNop}
	b := box(t, Config{StripOptions: true, ClampMSS: 1400})
	syn := seg(inside, server, SYN)
	out := syn
	out.From = netip.AddrPortFrom(external, inside.Port())
	got := one(t, b.Outbound(segment(t, syn, "", offered...), start), false)
	stripped := []layers.TCPOption{option(layers.TCPOptionKindMSS, 5, 120)}
	for range len(got) - 44 {
		stripped = append(stripped, nop)
	}
	same(t, "stripped", got, segment(t, out, "", stripped...))
	small := segment(t, seg(server, out.From, SYN|ACK), "", option(layers.TCPOptionKindMSS, 2, 24))
	if got := one(t, b.Inbound(small, start), true); got[42] != 2 || got[43] != 24 {
		t.Errorf("a small segment size became %x", got[42:44])
	}
}

func TestTTLIsRewrittenOnlyIfConfigured(t *testing.T) {
	for configured, want := range map[uint8]uint8{0: 60, 255: 255} {
		b := box(t, Config{RewriteTTL: configured})
		got := one(t, b.Outbound(segment(t, seg(inside, server, SYN), ""), start), false)
		if got[8] != want {
			t.Errorf("configured %d: got %d, want %d", configured, got[8], want)
		}
		checkSums(t, got)
	}
	b := box(t, Config{RewriteTTL: 255, Firewall: true})
	from, to := netip.MustParseAddrPort("[2001:db8:a::1]:5000"), netip.MustParseAddrPort("[2001:db8:b::1]:6000")
	if got := one(t, b.Outbound(segment(t, seg(from, to, SYN), ""), start), false); got[7] != 255 {
		t.Errorf("IPv6: got %d, want 255", got[7])
	}
}

func TestHeldSYNIsQuotedInTheAnswer(t *testing.T) {
	b := box(t, Config{Unsolicited: Hold})
	syn := segment(t, seg(stranger, netip.AddrPortFrom(external, 5000), SYN), "")
	if got := b.Inbound(bytes.Clone(syn), start); len(got) != 0 {
		t.Fatalf("got %+v at once", got)
	}
	got := one(t, b.Advance(start.Add(6*time.Second)), false)
	d, _ := cut(got, false)
	same(t, "quote", d.segment[sizeICMP:], syn)
	checkSums(t, got)
	if !b.Next().IsZero() {
		t.Errorf("next is %v, want never", b.Next())
	}
}

func TestHairpinnedSYNIsRefusedToItsSender(t *testing.T) {
	b := box(t, Config{Hairpin: true, Unsolicited: Reset})
	got := one(t, b.Outbound(segment(t, seg(inside, netip.AddrPortFrom(external, 9), SYN), ""), start), true)
	d, _ := cut(got, false)
	p, _ := d.tcp(false)
	if p.To != inside || p.From != netip.AddrPortFrom(external, 9) || p.Flags != RST|ACK || p.Ack != 1001 {
		t.Errorf("got %+v", p)
	}
	checkSums(t, got)
}

func TestWhatCannotBeReadIsDroppedWithAReason(t *testing.T) {
	whole := segment(t, seg(inside, server, SYN), "payload")
	fragment, long, protocol := bytes.Clone(whole), bytes.Clone(whole), bytes.Clone(whole)
	fragment[6] = 0x20
	long[32] = 0xf0
	protocol[9] = 132
	for name, p := range map[string][]byte{"empty": {}, "not IP": {0x00, 1}, "cut": whole[:30], "fragment": fragment, "header too long": long, "SCTP": protocol,
		"IPv6": segment(t, seg(netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:1"), SYN), "")} {
		var decisions []Decision
		b := box(t, Config{Observe: func(d Decision) { decisions = append(decisions, d) }})
		if got := b.Outbound(p, start); len(got) != 0 {
			t.Errorf("%s: got %+v, want nothing", name, got)
		}
		if len(decisions) != 1 || decisions[0].Kind != Malformed || decisions[0].Reason == "" {
			t.Errorf("%s: got decisions %+v, want one that it is malformed", name, decisions)
		}
	}
}

// Whatever arrives, the box neither panics nor sends what is not a whole IP
// packet, and what it makes itself has right checksums.
func FuzzBox(f *testing.F) {
	syn := segment(f, seg(inside, server, SYN), "", option(layers.TCPOptionKindMSS, 5, 180), option(layers.TCPOptionKindWindowScale, 7))
	f.Add(syn, uint8(0), true)
	f.Add(segment(f, seg(server, netip.AddrPortFrom(external, 5000), SYN|ACK), ""), uint8(1), false)
	f.Add(datagramUDP(f, inside, server, "x"), uint8(2), true)
	f.Add(unreachable(f, server.Addr(), external, syn), uint8(3), false)
	f.Add(segment(f, seg(inside, netip.AddrPortFrom(external, 5000), SYN), ""), uint8(4), true)
	f.Add(segment(f, seg(netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:1"), SYN), ""), uint8(5), true)
	f.Fuzz(func(t *testing.T, p []byte, kind uint8, outbound bool) {
		b := box(t, fuzzed(kind))
		b.Outbound(bytes.Clone(syn), start)
		for i := range 3 {
			now := start.Add(time.Duration(i) * 5 * time.Second)
			got := b.process(bytes.Clone(p), outbound != (i == 1), now)
			for _, e := range append(got[:len(got):len(got)], b.Advance(now)...) {
				if _, wrong := cut(e.Packet, false); wrong != "" {
					t.Fatalf("sent %x: %s", e.Packet, wrong)
				}
			}
		}
	})
}

func fuzzed(kind uint8) Config {
	c := Config{
		Mapping:     Mapping(1 + kind%4),
		Ports:       PortAssignment(1 + kind%7),
		Unsolicited: Unsolicited(1 + kind%5),
		Sequence:    Sequence(1 + kind%3),
		Resets:      ResetHandling(1 + kind%4),
		Hairpin:     kind%2 == 0, Overload: kind%3 == 0, StripOptions: kind%2 == 1, ClampMSS: 1000,
		Churn: 1,
	}
	if kind%6 == 5 {
		c.Firewall = true
	}
	return c
}

func BenchmarkBox(b *testing.B) {
	for name, c := range map[string]Config{"plain": {}, "netfilter": Netfilter(external), "rewrite": {Sequence: SequenceRewrite, RewriteTTL: 64}} {
		b.Run(name, func(b *testing.B) {
			x := box(b, c)
			now := start
			out := one(b, x.Outbound(segment(b, seg(inside, server, SYN), ""), now), false)
			d, _ := cut(out, false)
			p, _ := d.tcp(false)
			x.Inbound(segment(b, Packet{From: server, To: p.From, Flags: SYN | ACK, Seq: 2000, Ack: p.Seq + 1, Window: 64240}, ""), now)
			data := segment(b, Packet{From: inside, To: server, Flags: ACK, Seq: 1001, Ack: 2001, Window: 64240}, "data")
			again := bytes.Clone(data)
			b.ReportAllocs()
			for b.Loop() {
				copy(again, data)
				now = now.Add(time.Microsecond)
				if len(x.Outbound(again, now)) != 1 {
					b.Fatal("dropped")
				}
			}
		})
	}
	b.Run("new sessions", func(b *testing.B) {
		x := box(b, Config{Mapping: PerConnection, Ports: Random, Transitory: time.Second})
		syn := segment(b, seg(inside, server, SYN), "")
		again := bytes.Clone(syn)
		now := start
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			copy(again, syn)
			again[16], again[20], again[21] = byte(i>>16), byte(i>>8), byte(i)
			now = now.Add(50 * time.Microsecond)
			if len(x.Outbound(again, now)) != 1 {
				b.Fatal("dropped")
			}
		}
	})
}
