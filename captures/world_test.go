package captures

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// world is a path with two NATs, captured at four places: on A's host, outside
// A's NAT, outside B's NAT, on B's host. Its zero value translates addresses
// only, with true clocks.
type world struct {
	clocks    [4]time.Duration // how wrong each capture's clock is
	isnShift  uint32           // A's NAT adds it to what A numbers
	clampTo   uint16           // A's NAT lowers the MSS to it
	noStamps  bool             // the hosts use no TCP timestamps
	stripsTS  bool             // B's NAT removes timestamps
	setsTTL   uint8            // A's NAT gives it to what passes, in both directions
	from      time.Time
	perPlace  [4][]Packet
	ids       uint16
	addresses map[Side][4]netip.AddrPort
}

// hop is the delay of the middle link; those between a host and its NAT take a
// tenth of a millisecond.
const hop = 20 * time.Millisecond

func newWorld() *world {
	a, na := netip.MustParseAddrPort("10.1.0.2:4001"), netip.MustParseAddrPort("198.51.100.1:4001")
	b, nb := netip.MustParseAddrPort("10.2.0.2:5001"), netip.MustParseAddrPort("203.0.113.1:5001")
	return &world{from: dawn, addresses: map[Side][4]netip.AddrPort{SideA: {a, na, na, na}, SideB: {nb, nb, nb, b}}}
}

var steps = [4]time.Duration{0, 100 * time.Microsecond, hop, hop + 100*time.Microsecond}

// sent is a segment: from which place it starts (that of its sender, or of a NAT
// that makes it up) and how many places it reaches.
type sent struct {
	at       time.Duration
	side     Side
	kind     Kind
	seq, ack uint32
	start    int // 0: the sender's own place
	reach    int // places that see it; 0: all
	ttl      uint8
	leaks    bool // it keeps its inside address
	icmp     uint8
}

func (w *world) play(t testing.TB, list ...sent) *world {
	t.Helper()
	for _, s := range list {
		w.send(t, s)
	}
	for i := range w.perPlace {
		slices.SortStableFunc(w.perPlace[i], func(x, y Packet) int { return x.Time.Compare(y.Time) })
	}
	return w
}

func (w *world) send(t testing.TB, s sent) {
	w.ids++
	if s.ttl == 0 {
		s.ttl = 64
	}
	if s.reach == 0 {
		s.reach = 4
	}
	for n := s.start; n < min(4, s.start+s.reach); n++ {
		place := n
		if s.side == SideB {
			place = 3 - n
		}
		at := w.from.Add(s.at + steps[n] - steps[s.start] + w.clocks[place])
		data := w.frame(t, s, place, n)
		w.perPlace[place] = append(w.perPlace[place], Packet{Time: at, Data: data, Length: len(data)})
	}
}

// frame is the segment at a place, n steps from its sender.
func (w *world) frame(t testing.TB, s sent, place, n int) []byte {
	src, dst := w.addresses[s.side][place], w.addresses[s.side.Other()][place]
	if s.leaks {
		src = w.addresses[s.side][3*int(s.side-SideA)]
	}
	ttl := s.ttl - uint8(min(n, 1)+max(0, n-2)) // a NAT routes; the middle link does not
	if s.start > 0 {
		ttl = s.ttl - uint8(max(0, n-2))
	}
	switch {
	case w.setsTTL > 0 && s.side == SideA && place > 0:
		ttl = w.setsTTL - uint8(max(0, n-2))
	case w.setsTTL > 0 && s.side == SideB && place == 0:
		ttl = w.setsTTL
	}
	tcp := w.segment(s, place, n)
	tcp.SrcPort, tcp.DstPort = layers.TCPPort(src.Port()), layers.TCPPort(dst.Port())
	if s.icmp > 0 { // s.side refuses, and quotes what it got
		if place > 0 {
			s.seq += w.isnShift
		}
		return w.icmp(t, s, src, dst, ttl)
	}
	ip := layers.IPv4{Version: 4, TTL: ttl, Id: 1000 + w.ids*7, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	if tcp.RST {
		ip.Id = 0
	}
	tcp.SetNetworkLayerForChecksum(&ip)
	var payload gopacket.Payload
	if s.kind == KindData {
		payload = []byte("hello")
	}
	return serialize(t, &ip, &tcp, payload)
}

func (w *world) segment(s sent, place, n int) layers.TCP {
	tcp := layers.TCP{Seq: s.seq, Ack: s.ack, Window: 64240}
	tcp.SYN = s.kind == KindSyn || s.kind == KindSynAck
	tcp.ACK = s.kind != KindSyn && s.kind != KindRst
	tcp.RST = s.kind == KindRst || s.kind == KindRstAck
	if place > 0 && s.side == SideA && tcp.Seq != 0 {
		tcp.Seq += w.isnShift
	} else if place > 0 && tcp.ACK {
		tcp.Ack += w.isnShift
	}
	if tcp.RST {
		tcp.Window = 0
		return tcp
	}
	if tcp.SYN {
		mss := uint16(1460)
		if w.clampTo > 0 && (s.side == SideA && place > 0 || s.side == SideB && place == 0) {
			mss = w.clampTo
		}
		tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, mss)},
			layers.TCPOption{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2})
	}
	stripped := w.stripsTS && (s.side == SideA && place == 3 || s.side == SideB && place < 3)
	if !w.noStamps && !stripped {
		stamps := binary.BigEndian.AppendUint32(nil, uint32(s.side)<<24+uint32(s.at/time.Millisecond))
		tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: binary.BigEndian.AppendUint32(stamps, 0)})
	}
	if tcp.SYN {
		tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop}, layers.TCPOption{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}})
	}
	return tcp
}

func (w *world) icmp(t testing.TB, s sent, src, dst netip.AddrPort, ttl uint8) []byte {
	quoted := layers.IPv4{Version: 4, TTL: 63, Protocol: layers.IPProtocolTCP, SrcIP: dst.Addr().AsSlice(), DstIP: src.Addr().AsSlice()}
	tcp := layers.TCP{SrcPort: layers.TCPPort(dst.Port()), DstPort: layers.TCPPort(src.Port()), Seq: s.seq, SYN: true}
	tcp.SetNetworkLayerForChecksum(&quoted)
	inner := serialize(t, &quoted, &tcp)
	ip := layers.IPv4{Version: 4, TTL: ttl, Protocol: layers.IPProtocolICMPv4, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	return serialize(t, &ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, s.icmp)}, gopacket.Payload(inner))
}

// file is the capture of one place, or of some of its packets.
func (w *world) file(t testing.TB, name string, packets []Packet) Source {
	t.Helper()
	var file bytes.Buffer
	out, err := NewWriter(&file, Interface{Name: name, LinkType: LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		if err := out.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	return Source{Name: name, Reader: &file}
}

var placeNames = [4]string{"a", "na", "nb", "b"}

func (w *world) analyse(t testing.TB, places ...int) Analysis {
	t.Helper()
	var list []Source
	for _, p := range places {
		list = append(list, w.file(t, placeNames[p], w.perPlace[p]))
	}
	a, err := Analyze(list, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const ms = time.Millisecond

// scenarios are exchanges between 100 of A and 900 of B.
var scenarios = map[Verdict][]sent{
	VerdictSimultaneousOpen: {
		{at: 0, side: SideA, kind: KindSyn, seq: 100}, {at: 3 * ms, side: SideB, kind: KindSyn, seq: 900},
		{at: 21 * ms, side: SideB, kind: KindSynAck, seq: 900, ack: 101}, {at: 24 * ms, side: SideA, kind: KindSynAck, seq: 100, ack: 901},
		{at: 42 * ms, side: SideA, kind: KindAck, seq: 101, ack: 901}, {at: 45 * ms, side: SideB, kind: KindAck, seq: 901, ack: 101},
	},
	VerdictLateCrossing: { // A's SYN is dropped by B's NAT
		{at: 0, side: SideA, kind: KindSyn, seq: 100, reach: 3}, {at: 50 * ms, side: SideB, kind: KindSyn, seq: 900},
		{at: 71 * ms, side: SideA, kind: KindSynAck, seq: 100, ack: 901}, {at: 92 * ms, side: SideB, kind: KindAck, seq: 901, ack: 101},
		{at: 93 * ms, side: SideB, kind: KindData, seq: 901, ack: 101}, {at: 115 * ms, side: SideA, kind: KindAck, seq: 101, ack: 906},
	},
	VerdictSplitHandshake: {
		{at: 0, side: SideA, kind: KindSyn, seq: 100}, {at: 21 * ms, side: SideB, kind: KindAck, seq: 0, ack: 101}, {at: 22 * ms, side: SideB, kind: KindSyn, seq: 900},
		{at: 43 * ms, side: SideA, kind: KindSynAck, seq: 100, ack: 901}, {at: 64 * ms, side: SideB, kind: KindAck, seq: 901, ack: 101},
		{at: 90 * ms, side: SideA, kind: KindData, seq: 101, ack: 901},
	},
	VerdictThreeWay: {
		{at: 0, side: SideA, kind: KindSyn, seq: 100}, {at: 21 * ms, side: SideB, kind: KindSynAck, seq: 900, ack: 101},
		{at: 42 * ms, side: SideA, kind: KindAck, seq: 101, ack: 901}, {at: 63 * ms, side: SideB, kind: KindData, seq: 901, ack: 101},
	},
	VerdictRefused: { // by B's NAT; B's own SYN comes 30 ms later and is refused by A's host
		{at: 0, side: SideA, kind: KindSyn, seq: 100, reach: 3}, {at: hop, side: SideB, kind: KindRstAck, ack: 101, start: 1},
		{at: 50 * ms, side: SideB, kind: KindSyn, seq: 900},
		{at: 71 * ms, side: SideA, kind: KindRstAck, ack: 901},
	},
	VerdictICMPRejected: {
		{at: 0, side: SideA, kind: KindSyn, seq: 100, reach: 3}, {at: hop, side: SideB, kind: KindUnknown, seq: 100, icmp: 13, start: 1},
		{at: 46 * ms, side: SideB, kind: KindSyn, seq: 900, reach: 4},
		{at: 67 * ms, side: SideA, kind: KindRstAck, ack: 901, leaks: true, reach: 3},
	},
	VerdictUnanswered: {
		{at: 0, side: SideA, kind: KindSyn, seq: 100, reach: 3}, {at: 1000 * ms, side: SideA, kind: KindSyn, seq: 100, reach: 3},
		{at: 2000 * ms, side: SideA, kind: KindSyn, seq: 100, reach: 3},
	},
	VerdictIncomplete: {
		{at: 0, side: SideA, kind: KindSyn, seq: 100}, {at: 21 * ms, side: SideB, kind: KindSynAck, seq: 900, ack: 101},
	},
}
