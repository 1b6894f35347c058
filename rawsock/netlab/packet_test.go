package netlab

import (
	"bytes"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	src4, dst4 = netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("192.0.2.1")
	src6, dst6 = netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:b::1")
)

// networkLayer makes an IP header for gopacket.
func networkLayer(src, dst netip.Addr, ttl uint8, protocol layers.IPProtocol) gopacket.SerializableLayer {
	if src.Is6() {
		return &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	return &layers.IPv4{Version: 4, TTL: ttl, Protocol: protocol, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(), Id: 7}
}

func serialize(t testing.TB, l ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, l...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

func tcpPacket(t testing.TB, src, dst netip.Addr, ttl uint8, payload []byte) []byte {
	t.Helper()
	ip := networkLayer(src, dst, ttl, layers.IPProtocolTCP)
	tcp := &layers.TCP{SrcPort: 4000, DstPort: 5000, Seq: 77, SYN: true, Window: 1000}
	if err := tcp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		t.Fatal(err)
	}
	return serialize(t, ip, tcp, gopacket.Payload(payload))
}

func udpPacket(t testing.TB, src, dst netip.Addr, payload []byte) []byte {
	t.Helper()
	ip := networkLayer(src, dst, 64, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 4000, DstPort: 5000}
	if err := udp.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)); err != nil {
		t.Fatal(err)
	}
	return serialize(t, ip, udp, gopacket.Payload(payload))
}

var pairs = [][2]netip.Addr{{src4, dst4}, {src6, dst6}}

func TestChangingTheTTLGivesWhatGopacketSerializes(t *testing.T) {
	for _, pair := range pairs {
		for from := range 256 {
			for _, to := range []uint8{0, 1, 63, 254, 255} {
				got := tcpPacket(t, pair[0], pair[1], uint8(from), nil)
				setTTL(got, to)
				if want := tcpPacket(t, pair[0], pair[1], to, nil); !bytes.Equal(got, want) {
					t.Fatalf("TTL %d to %d:\ngot  %x\nwant %x", from, to, got, want)
				}
			}
		}
	}
}

func TestReplacedWordGivesTheChecksumOfTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 20)
	for range 100000 {
		for i := range b {
			b[i] = byte(r.Uint32()) & byte(-(r.Uint32() & 1)) // zeros are the hard case
		}
		b[0] |= 0x40 // as in an IP header, the whole is never zero
		before := ^fold(sum(b, 0))
		old, new := uint16(b[4])<<8|uint16(b[5]), uint16(r.Uint32())
		b[4], b[5] = byte(new>>8), byte(new)
		if got, want := replaceWord(before, old, new), ^fold(sum(b, 0)); got != want {
			t.Fatalf("%x: got %#x, want %#x", b, got, want)
		}
	}
}

func TestCompletedChecksumIsWhatGopacketComputes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, pair := range pairs {
		for length := range 64 {
			payload := make([]byte, length)
			for i := range payload {
				payload[i] = byte(r.Uint32())
			}
			for _, want := range [][]byte{tcpPacket(t, pair[0], pair[1], 64, payload), udpPacket(t, pair[0], pair[1], payload)} {
				got := bytes.Clone(want)
				h, ok := parse(got)
				if !ok {
					t.Fatalf("parse %x: not a packet", got)
				}
				at := h.size + checksumOffset(h.protocol)
				got[at] ^= 0x5a
				completeChecksum(got, h)
				if !bytes.Equal(got, want) {
					t.Fatalf("got  %x\nwant %x", got, want)
				}
			}
		}
	}
}

func TestHeaderAgreesWithGopacket(t *testing.T) {
	for _, pair := range pairs {
		p := tcpPacket(t, pair[0], pair[1], 9, []byte("data"))
		h, ok := parse(append(p, 0, 0, 0)) // Ethernet padding
		if !ok || h.length != len(p) || h.ttl != 9 || h.protocol != protocolTCP || h.src != pair[0] || h.dst != pair[1] {
			t.Errorf("got %+v, %v for %x", h, ok, p)
		}
		for cut := range len(p) {
			if _, ok := parse(p[:cut]); ok {
				t.Errorf("parse of the first %d of %d bytes: got a packet", cut, len(p))
			}
		}
	}
}

func newTestCore(t *testing.T, hops int) *Core {
	t.Helper()
	c, err := NewCore(CoreConfig{Hops: hops})
	if err != nil {
		t.Fatal(err)
	}
	for i, pair := range [][]netip.Addr{{src4, src6}, {dst4, dst6}} {
		var prefixes []netip.Prefix
		for _, a := range pair {
			prefixes = append(prefixes, netip.PrefixFrom(a, a.BitLen()))
		}
		if c.routes, err = c.routes.with(prefixes, i); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *Core) try(t *testing.T, p []byte, from int) outcome {
	t.Helper()
	h, ok := parse(p)
	if !ok {
		t.Fatalf("not a packet: %x", p)
	}
	return c.forward(p[:h.length], h, from, make([]byte, maxPacket))
}

func TestAnswersQuoteThePacketAndAreWellFormed(t *testing.T) {
	c := newTestCore(t, 3)
	for _, pair := range pairs {
		for _, size := range []int{0, 5, 1400} {
			p := tcpPacket(t, pair[0], pair[1], 2, bytes.Repeat([]byte{'x'}, size))
			quoted := tcpPacket(t, pair[0], pair[1], 1, bytes.Repeat([]byte{'x'}, size))
			o := c.try(t, p, 0)
			if o.event != TTLExceeded || o.to != 0 {
				t.Fatalf("got %+v, want time exceeded to port 0", o)
			}
			checkAnswer(t, o.answer, pair[0], routerAddress(0, 1, pair[0].Is6()), quoted)
		}
	}
}

// checkAnswer lets gopacket serialize what it decoded: only a packet with right
// lengths and checksums comes out unchanged.
func checkAnswer(t *testing.T, answer []byte, to, from netip.Addr, quoted []byte) {
	t.Helper()
	first, largest, overhead := gopacket.Decoder(layers.LayerTypeIPv4), largest4, size4+icmpHeader
	if to.Is6() {
		first, largest, overhead = layers.LayerTypeIPv6, largest6, size6+icmpHeader
	}
	d := gopacket.NewPacket(answer, first, gopacket.DecodeOptions{})
	if d.ErrorLayer() != nil {
		t.Fatalf("gopacket: %v", d.ErrorLayer().Error())
	}
	flow := d.NetworkLayer().NetworkFlow()
	if !net.IP(flow.Src().Raw()).Equal(from.AsSlice()) || !net.IP(flow.Dst().Raw()).Equal(to.AsSlice()) {
		t.Errorf("got an answer %v, want %v->%v", flow, from, to)
	}
	var again []gopacket.SerializableLayer
	for _, l := range d.Layers() {
		if s, ok := l.(gopacket.SerializableLayer); ok {
			again = append(again, s)
		}
	}
	if i, ok := d.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		if err := i.SetNetworkLayerForChecksum(d.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
	}
	if want := serialize(t, again...); !bytes.Equal(answer, want) {
		t.Errorf("got  %x\nwant %x", answer, want)
	}
	quote := answer[overhead:]
	if want := quoted[:min(len(quoted), largest-overhead)]; !bytes.Equal(quote, want) {
		t.Errorf("quote: got  %x\nwant %x", quote, want)
	}
}

func TestPacketLosesOneTTLPerHop(t *testing.T) {
	for _, hops := range []int{1, 2, 3, 7} {
		c := newTestCore(t, hops)
		for _, pair := range pairs {
			p := tcpPacket(t, pair[0], pair[1], 64, nil)
			if o := c.try(t, p, 0); o.event != Delivered || o.to != 1 {
				t.Fatalf("got %+v, want delivery to port 1", o)
			}
			if want := tcpPacket(t, pair[0], pair[1], 64-uint8(hops), nil); !bytes.Equal(p, want) {
				t.Errorf("%d hops:\ngot  %x\nwant %x", hops, p, want)
			}
		}
	}
}

func TestRoutersKeepSilentAboutErrors(t *testing.T) {
	c := newTestCore(t, 3)
	for _, pair := range pairs {
		first := c.try(t, tcpPacket(t, pair[0], pair[1], 1, nil), 0)
		about := bytes.Clone(first.answer)
		setTTL(about, 1)
		// The same error, on its way from port 0 to a host that is not attached.
		if o := c.try(t, about, 1); o.answer != nil {
			t.Errorf("got the answer %x about an ICMP error", o.answer)
		}
	}
}

func TestOnlyUnicastIsForwarded(t *testing.T) {
	c := newTestCore(t, 3)
	for _, a := range []string{"224.0.0.1", "255.255.255.255", "127.0.0.1", "169.254.1.1", "0.0.0.0", "ff02::2", "fe80::1", "::1", "::"} {
		dst := netip.MustParseAddr(a)
		src := src4
		if dst.Is6() {
			src = src6
		}
		for _, p := range [][]byte{tcpPacket(t, src, dst, 64, nil), tcpPacket(t, dst, src, 64, nil)} {
			if o := c.try(t, p, 0); o.cause != causeNotUnicast || o.answer != nil {
				t.Errorf("%v: got %+v, want it ignored", a, o)
			}
		}
	}
}

func TestLongestPrefixWins(t *testing.T) {
	r, err := routes(nil).with([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = r.with([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, 1); err != nil {
		t.Fatal(err)
	}
	for a, want := range map[string]int{"10.2.0.1": 0, "10.1.0.1": 1, "11.0.0.1": -1, "2001:db8::1": -1} {
		if got := r.find(netip.MustParseAddr(a)); got != want {
			t.Errorf("route to %v: got port %d, want %d", a, got, want)
		}
	}
}

func TestQueueGivesTheEarliestAndKeepsOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var q queue
	var want []flight
	for seq := range uint64(1000) {
		f := flight{due: time.Duration(r.IntN(50)), seq: seq}
		q.push(f)
		want = append(want, f)
	}
	slices.SortStableFunc(want, func(a, b flight) int { return int(a.due - b.due) })
	for i, w := range want {
		if got := q.pop(); got.due != w.due || got.seq != w.seq {
			t.Fatalf("flight %d: got %v/%d, want %v/%d", i, got.due, got.seq, w.due, w.seq)
		}
	}
}

func TestPercentilesAreExactToOneSixteenth(t *testing.T) {
	var s stats
	for i := 1; i <= 10000; i++ {
		s.delivered(time.Duration(i) * time.Microsecond)
	}
	counts := s.tally()
	got := counts.lateness(10 * time.Millisecond)
	for _, x := range []struct{ got, want time.Duration }{
		{got.P50, 5 * time.Millisecond}, {got.P90, 9 * time.Millisecond},
		{got.P99, 9900 * time.Microsecond}, {got.Max, 10 * time.Millisecond},
	} {
		if x.got < x.want || x.got > x.want+x.want/16 {
			t.Errorf("got %v, want %v to 1/16 more", x.got, x.want)
		}
	}
	counts.subtract(new(s.tally()))
	if got := counts.lateness(time.Hour); got != (Lateness{}) {
		t.Errorf("of nothing: got %+v", got)
	}
}

func TestEveryLatenessHasItsBucket(t *testing.T) {
	for _, ns := range []int64{-1, 0, 1, 15, 16, 17, 31, 32, 33, 1000, 123456789, 1 << 40, 1<<62 + 1} {
		top := bucketTop(bucket(ns))
		if top < ns || top > max(ns, 0)+max(ns, 0)/16 {
			t.Errorf("%d ns: got a bucket up to %d", ns, top)
		}
	}
}

func TestEnumsRoundTripAsText(t *testing.T) {
	for k := range deviceKindNames {
		var got DeviceKind
		if b, err := DeviceKind(k).MarshalText(); err != nil || got.UnmarshalText(b) != nil || int(got) != k {
			t.Errorf("device kind %d: got %q, %v, %v", k, b, got, err)
		}
	}
	for e := range eventNames {
		var got Event
		if b, err := Event(e).MarshalText(); err != nil || got.UnmarshalText(b) != nil || int(got) != e {
			t.Errorf("event %d: got %q, %v, %v", e, b, got, err)
		}
	}
	var d Direction
	if err := d.UnmarshalText([]byte("sideways")); err == nil {
		t.Error("unmarshal sideways: got no error")
	}
}
