package rawsock

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// randomSegment is any segment that IPv4 or IPv6 can carry.
func randomSegment(r *rand.Rand) Segment {
	address := func(size int) netip.AddrPort {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		a, _ := netip.AddrFromSlice(b)
		return netip.AddrPortFrom(a, uint16(r.Uint32()))
	}
	size := 4 + 12*r.IntN(2)
	s := Segment{
		From: address(size), To: address(size), Flags: Flags(r.IntN(1 << 9)), Seq: r.Uint32(), Ack: r.Uint32(),
		Window: uint16(r.Uint32()), Urgent: uint16(r.Uint32()), Options: randomOptions(r),
		Payload: make([]byte, r.IntN(64)), TTL: uint8(1 + r.IntN(255)), TOS: uint8(r.Uint32()),
	}
	if r.IntN(100) == 0 {
		s.Payload = make([]byte, r.IntN(1500))
	}
	for i := range s.Payload {
		s.Payload[i] = byte(r.Uint32())
	}
	if size == 4 {
		s.ID, s.DontFragment = uint16(r.Uint32()), r.IntN(2) == 0
	} else {
		s.FlowLabel = r.Uint32N(1 << 20)
	}
	return s
}

// randomOptions are whole options, since gopacket builds its own from kinds and
// data.
func randomOptions(r *rand.Rand) (o TCPOptions) {
	for {
		more := o
		switch r.IntN(7) {
		case 0:
			more = more.MSS(uint16(r.Uint32()))
		case 1:
			more = more.WindowScale(uint8(r.Uint32()))
		case 2:
			more = more.SACKPermitted()
		case 3:
			more = more.Timestamps(r.Uint32(), r.Uint32())
		case 4:
			more = more.NOP()
		case 5:
			n := r.IntN(10)
			more = append(more, byte(5+r.IntN(250)), byte(2+n))
			for range n {
				more = append(more, byte(r.Uint32()))
			}
		case 6:
			return o
		}
		if len(more) > maxTCPOptions {
			return o
		}
		o = more
	}
}

// serialised is the segment as gopacket writes it.
func serialised(t testing.TB, s Segment) []byte {
	t.Helper()
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(s.From.Port()), DstPort: layers.TCPPort(s.To.Port()), Seq: s.Seq, Ack: s.Ack,
		FIN: s.Flags.Has(FIN), SYN: s.Flags.Has(SYN), RST: s.Flags.Has(RST), PSH: s.Flags.Has(PSH), ACK: s.Flags.Has(ACK),
		URG: s.Flags.Has(URG), ECE: s.Flags.Has(ECE), CWR: s.Flags.Has(CWR), NS: s.Flags.Has(NS), Window: s.Window, Urgent: s.Urgent,
	}
	for o := s.Options; len(o) > 0; {
		kind, data, rest, ok := o.next()
		if !ok {
			t.Fatalf("%x has no whole option at %x", []byte(s.Options), []byte(o))
		}
		tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: layers.TCPOptionKind(kind), OptionLength: uint8(2 + len(data)), OptionData: data})
		o = rest
	}
	var ip gopacket.SerializableLayer
	if s.From.Addr().Is4() {
		v4 := &layers.IPv4{Version: 4, TOS: s.TOS, Id: s.ID, TTL: s.TTL, Protocol: layers.IPProtocolTCP,
			SrcIP: s.From.Addr().AsSlice(), DstIP: s.To.Addr().AsSlice()}
		if s.DontFragment {
			v4.Flags = layers.IPv4DontFragment
		}
		tcp.SetNetworkLayerForChecksum(v4)
		ip = v4
	} else {
		v6 := &layers.IPv6{Version: 6, TrafficClass: s.TOS, FlowLabel: s.FlowLabel, HopLimit: s.TTL, NextHeader: layers.IPProtocolTCP,
			SrcIP: s.From.Addr().AsSlice(), DstIP: s.To.Addr().AsSlice()}
		tcp.SetNetworkLayerForChecksum(v6)
		ip = v6
	}
	buffer := gopacket.NewSerializeBuffer()
	how := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buffer, how, ip, tcp, gopacket.Payload(s.Payload)); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func TestSegmentsAreThoseOfGopacket(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 5_000
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	var packet []byte
	for i := range n {
		s := randomSegment(r)
		var err error
		if packet, err = s.AppendBinary(packet[:0]); err != nil {
			t.Fatal(err)
		}
		if want := serialised(t, s); !bytes.Equal(packet, want) {
			t.Fatalf("seed %d, segment %d, %+v:\ngot  %x\nwant %x", seed, i, s, packet, want)
		}
		if back, err := ParseSegment(packet); err != nil || !sameSegment(back, s) {
			t.Fatalf("seed %d, segment %d: got %+v, %v back, want %+v", seed, i, back, err, s)
		}
	}
}

func sameSegment(got, want Segment) bool {
	padded := make(TCPOptions, want.Options.padded())
	copy(padded, want.Options)
	same := bytes.Equal(got.Options, padded) && bytes.Equal(got.Payload, want.Payload)
	got.Options, got.Payload, want.Options, want.Payload = nil, nil, nil, nil
	return same && got.From == want.From && got.To == want.To && got.Flags == want.Flags && got.Seq == want.Seq && got.Ack == want.Ack &&
		got.Window == want.Window && got.Urgent == want.Urgent && got.TTL == want.TTL && got.TOS == want.TOS && got.ID == want.ID &&
		got.DontFragment == want.DontFragment && got.FlowLabel == want.FlowLabel
}

func TestSegmentsThatNoPacketHoldsAreErrors(t *testing.T) {
	a4, b4 := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	b6 := netip.MustParseAddrPort("[2001:db8::2]:2")
	for name, s := range map[string]Segment{
		"no addresses":     {},
		"two families":     {From: a4, To: b6},
		"too many options": {From: a4, To: b4, Options: make(TCPOptions, 41)},
		"too much payload": {From: a4, To: b4, Payload: make([]byte, 65535-39)},
		"flow label":       {From: b6, To: b6, FlowLabel: 1 << 20},
		"a tenth flag":     {From: a4, To: b4, Flags: 1 << 9},
	} {
		if b, err := s.AppendBinary(nil); err == nil || len(b) != 0 {
			t.Errorf("%s: got %d bytes, %v, want an error", name, len(b), err)
		}
	}
	for _, s := range []Segment{{From: a4, To: b4, Payload: make([]byte, 65535-40)}, {From: b6, To: b6, Payload: make([]byte, 65535-20)}} {
		b, err := s.AppendBinary(nil)
		if want := serialised(t, withTTL(s)); err != nil || !bytes.Equal(b, want) {
			t.Errorf("the longest payload: got %d bytes, %v, want %d", len(b), err, len(want))
		}
	}
	mapped := Segment{From: netip.MustParseAddrPort("[::ffff:192.0.2.1]:1"), To: b4}
	if b, err := mapped.AppendBinary(nil); err != nil || b[0] != 0x45 {
		t.Errorf("an IPv4 address in IPv6 form: got %x, %v, want IPv4", b, err)
	}
}

func withTTL(s Segment) Segment {
	s.TTL = defaultTTL
	return s
}

func TestTCPOptionsReadWhatTheyWrote(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		o := randomOptions(r)
		if r.IntN(2) == 0 { // and what is no list of options
			o = o[:r.IntN(len(o)+1)]
		}
		var back TCPOptions
		if err := back.UnmarshalText([]byte(o.String())); err != nil || !bytes.Equal(back, o) {
			t.Fatalf("%x: got %x, %v by way of %q", []byte(o), []byte(back), err, o)
		}
	}
	var o TCPOptions
	want := TCPOptions(nil).MSS(1460).SACKPermitted().Timestamps(7, 0).NOP().WindowScale(7)
	if err := o.UnmarshalText([]byte("mss=1460,sack,ts=7,nop,wscale=7")); err != nil || !bytes.Equal(o, want) {
		t.Errorf("got %x, %v, want %x", []byte(o), err, []byte(want))
	}
	for _, bad := range []string{"mss", "mss=65536", "wscale=x", "ts=", "ts=1:", "raw=0", "sak", ",", "sack=1", "nop=", "raw=" + string(bytes.Repeat([]byte("00"), 41))} {
		if err := o.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, o)
		}
	}
	for bad, want := range map[string]string{
		"mss=65536": `TCP option "mss=65536": want a number up to 65535`,
		"wscale=x":  `TCP option "wscale=x": want a number up to 255`,
		"ts=1:-1":   `TCP option "ts=1:-1": want a number up to 4294967295`,
		"raw=0":     `TCP option "raw=0": want two hexadecimal digits for each byte`,
		"sack=1":    `TCP option "sack=1": it takes no value`,
	} {
		if err := o.UnmarshalText([]byte(bad)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", bad, err, want)
		}
	}
}

func TestFlagsReadWhatTheyWrote(t *testing.T) {
	for f := range Flags(1 << 9) {
		var back Flags
		if err := back.UnmarshalText([]byte(f.String())); err != nil || back != f {
			t.Errorf("%v: got %v, %v", f, back, err)
		}
	}
	for _, bad := range []string{"", "syn,", "sin", "SYN"} {
		var f Flags
		if err := f.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, f)
		}
	}
}
