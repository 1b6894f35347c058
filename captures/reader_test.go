package captures

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// drain reads a file to its end and copies the packets.
func drain(data []byte) (list []Packet, r *Reader, err error) {
	r, err = NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	for {
		p, err := r.Next()
		if err != nil {
			return list, r, err
		}
		p.Data = bytes.Clone(p.Data)
		list = append(list, p)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	want := []Packet{
		{Time: dawn, Data: []byte("abc"), Length: 1500, Interface: 1, Direction: DirectionOut, Comments: []string{"first", "second, longer"}},
		{Time: dawn.Add(1), Data: []byte("abcdefgh"), Length: 8},
		{Time: dawn.Add(time.Hour), Data: []byte{}, Length: 0, Comments: []string{"empty"}},
	}
	interfaces := []Interface{{Name: "wan", Description: "the outside", LinkType: LinkEthernet, SnapLen: 256}, {Name: "any", LinkType: LinkSLL2}}
	var file bytes.Buffer
	w, err := NewWriter(&file, interfaces...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range want {
		if err := w.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	got, r, err := drain(file.Bytes())
	if !errors.Is(err, io.EOF) {
		t.Fatalf("got error %v, want EOF", err)
	}
	if !slices.EqualFunc(got, want, samePacket) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !slices.Equal(r.Interfaces(), interfaces) {
		t.Errorf("got interfaces %v, want %v", r.Interfaces(), interfaces)
	}
	if r.LinkType(got[0]) != 276 || r.Bytes() != int64(file.Len()) {
		t.Errorf("got link type %d and %d bytes, want 276 and %d", r.LinkType(got[0]), r.Bytes(), file.Len())
	}
}

func samePacket(x, y Packet) bool {
	return x.Time.Equal(y.Time) && bytes.Equal(x.Data, y.Data) && x.Length == y.Length && x.Interface == y.Interface && x.Direction == y.Direction && slices.Equal(x.Comments, y.Comments)
}

func TestClassicPcapKeepsNanoseconds(t *testing.T) {
	var file bytes.Buffer
	w, err := NewPcapWriter(&file, LinkRaw, 96)
	if err != nil {
		t.Fatal(err)
	}
	want := Packet{Time: dawn, Data: []byte("hello"), Length: 40}
	if err := w.WritePacket(want); err != nil {
		t.Fatal(err)
	}
	got, r, err := drain(file.Bytes())
	if !errors.Is(err, io.EOF) || len(got) != 1 || !samePacket(got[0], want) {
		t.Fatalf("got %v and %v, want %v and EOF", got, err, want)
	}
	if r.Format() != FormatPcapNano || r.LinkType(got[0]) != LinkRaw {
		t.Errorf("got %v, %v, want pcap-nanosecond, raw", r.Format(), r.LinkType(got[0]))
	}
}

func TestAPacketWithoutATimeIsWrittenAsOf1970(t *testing.T) {
	for _, ng := range []bool{false, true} {
		var file bytes.Buffer
		begin := func() (*Writer, error) { return NewPcapWriter(&file, LinkRaw, 96) }
		if ng {
			begin = func() (*Writer, error) { return NewWriter(&file, Interface{LinkType: LinkRaw}) }
		}
		w, err := begin()
		if err := errors.Join(err, w.WritePacket(Packet{Data: make([]byte, 20)})); err != nil {
			t.Fatal(err)
		}
		if list, _, _ := drain(file.Bytes()); len(list) != 1 || list[0].Time.Unix() != 0 {
			t.Errorf("pcapng %v: got %+v", ng, list)
		}
	}
}

func TestClassicPcapInBothByteOrdersAndResolutions(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for magic, unit := range map[uint32]time.Duration{magicMicro: time.Microsecond, magicNano: time.Nanosecond} {
			var b []byte
			b = order.AppendUint32(b, magic)
			b = order.AppendUint16(b, 2)
			b = order.AppendUint16(b, 4)
			for _, word := range []uint32{0, 0, 65535, 1, 1000, 7, 2, 60} {
				b = order.AppendUint32(b, word)
			}
			got, _, err := drain(append(b, "xy"...))
			want := Packet{Time: time.Unix(1000, int64(7*unit)).UTC(), Data: []byte("xy"), Length: 60}
			if !errors.Is(err, io.EOF) || len(got) != 1 || !samePacket(got[0], want) {
				t.Errorf("%v %x: got %v, %v, want %v", order, magic, got, err, want)
			}
		}
	}
}

// ng builds blocks in a byte order.
type ng struct {
	order interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}
	data []byte
}

func (b *ng) words(list ...uint32) []byte {
	var out []byte
	for _, w := range list {
		out = b.order.AppendUint32(out, w)
	}
	return out
}

func (b *ng) block(kind uint32, body []byte) {
	body = pad(body)
	total := uint32(len(body) + 12)
	b.data = append(b.data, b.words(kind, total)...)
	b.data = append(b.data, body...)
	b.data = append(b.data, b.words(total)...)
}

func (b *ng) section() {
	b.block(blockSection, b.words(0x1a2b3c4d, b.version(), ^uint32(0), ^uint32(0)))
}

func (b *ng) version() uint32 { return b.order.Uint32(append(b.order.AppendUint16(nil, 1), 0, 0)) }

func (b *ng) link(link uint16, options ...byte) {
	b.block(blockInterface, append(append(append(b.order.AppendUint16(nil, link), 0, 0), b.words(0)...), options...))
}

func TestOldVersionsSwapTheLengths(t *testing.T) {
	for version, lengths := range map[uint16][2]uint32{1: {60, 2}, 2: {60, 2}, 3: {60, 2}, 4: {2, 60}} {
		b := binary.LittleEndian.AppendUint32(nil, magicMicro)
		b = binary.LittleEndian.AppendUint16(b, 2)
		b = binary.LittleEndian.AppendUint16(b, version)
		for _, word := range []uint32{0, 0, 65535, 1, 1000, 7, lengths[0], lengths[1]} {
			b = binary.LittleEndian.AppendUint32(b, word)
		}
		got, _, err := drain(append(b, "xy"...))
		if !errors.Is(err, io.EOF) || len(got) != 1 || string(got[0].Data) != "xy" || got[0].Length != 60 {
			t.Errorf("version 2.%d: got %v, %v", version, got, err)
		}
	}
}

func TestTheModifiedFormatHasLongerPacketHeaders(t *testing.T) {
	b := binary.BigEndian.AppendUint32(nil, magicModified)
	b = binary.BigEndian.AppendUint32(b, 2<<16|4)
	for _, word := range []uint32{0, 0, 65535, 1, 1000, 7, 2, 60, 3 /* interface */, 0 /* protocol and type */} {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	got, r, err := drain(append(b, "xy"...))
	if !errors.Is(err, io.EOF) || len(got) != 1 || string(got[0].Data) != "xy" || r.Format() != FormatPcapModified {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSectionsMayChangeByteOrderAndInterfaces(t *testing.T) {
	var whole []byte
	for _, b := range []*ng{{order: binary.LittleEndian}, {order: binary.BigEndian}} {
		b.section()
		b.link(1)
		b.link(101)
		b.block(0x0bad, []byte("of no interest")) // an unknown block
		b.block(blockEnhanced, append(b.words(1, 0, 1_000_000, 3, 3), "abc"...))
		b.block(blockSimple, append(b.words(2), "xy"...))
		b.block(blockPacket, append(append(append(b.order.AppendUint16(nil, 1), 0, 0), b.words(0, 2_000_000, 1, 1)...), 'p'))
		whole = append(whole, b.data...)
	}
	got, r, err := drain(whole)
	if !errors.Is(err, io.EOF) || len(got) != 6 {
		t.Fatalf("got %d packets and %v, want 6 and EOF", len(got), err)
	}
	want := []Packet{
		{Time: time.Unix(1, 0), Data: []byte("abc"), Length: 3, Interface: 1},
		{Data: []byte("xy"), Length: 2, Interface: 0},
		{Time: time.Unix(2, 0), Data: []byte("p"), Length: 1, Interface: 1},
	}
	for i, p := range got {
		w := want[i%3]
		w.Interface += i / 3 * 2
		if !samePacket(p, w) {
			t.Errorf("packet %d: got %v, want %v", i, p, w)
		}
	}
	if n := len(r.Interfaces()); n != 4 {
		t.Errorf("got %d interfaces, want 4", n)
	}
}

func TestEveryResolutionOfTimeIsUnderstood(t *testing.T) {
	tests := []struct {
		clock blockClock
		ticks uint64
		want  time.Time
	}{
		{blockClock{resolution: 0}, 7, time.Unix(7, 0)},
		{blockClock{resolution: 6}, 1_500_000, time.Unix(1, 5e8)},
		{blockClock{resolution: 9}, 1_000_000_001, time.Unix(1, 1)},
		{blockClock{resolution: 12}, 1_000_000_005_000, time.Unix(1, 5)},
		{blockClock{resolution: 19}, 15_000_000_000_000_000_000, time.Unix(1, 5e8)},
		{blockClock{resolution: 20}, 15_000_000_000_000_000_000, time.Unix(0, 15e7)},
		{blockClock{resolution: 127}, 1, time.Unix(0, 0)},
		{blockClock{resolution: 0x80}, 3, time.Unix(3, 0)},
		{blockClock{resolution: 0x80 | 1}, 3, time.Unix(1, 5e8)},
		{blockClock{resolution: 0x80 | 20}, 1<<20 + 1<<19, time.Unix(1, 5e8)},
		{blockClock{resolution: 0x80 | 32}, 1<<33 + 1<<31, time.Unix(2, 5e8)},
		{blockClock{resolution: 0x80 | 64}, 1 << 63, time.Unix(0, 5e8)},
		{blockClock{resolution: 0x80 | 127}, 1, time.Unix(0, 0)},
		{blockClock{resolution: 6, offset: -1}, 1_000_000, time.Unix(0, 0)},
		{blockClock{resolution: 6, offset: 1 << 62}, 1, time.Time{}},
		{blockClock{resolution: 0}, ^uint64(0), time.Time{}},
	}
	for _, test := range tests {
		if got := test.clock.time(test.ticks); !got.Equal(test.want) {
			t.Errorf("%+v, %d ticks: got %v, want %v", test.clock, test.ticks, got, test.want.UTC())
		}
	}
}

func TestAFileCutAnywhereGivesWhatIsWholeAndSaysWhere(t *testing.T) {
	whole := captureOf(t, "A syn 100", "B syn-ack 900 101", "A ack 101 901")
	ends := map[int]bool{}
	for n := range whole {
		list, _, err := drain(whole[:n])
		switch {
		case errors.Is(err, io.EOF):
			ends[n] = true
		case n < 4 && errors.Is(err, ErrNotCapture):
		case !errors.Is(err, ErrCutShort):
			t.Fatalf("cut at %d: got %v, want a cut", n, err)
		case !strings.Contains(err.Error(), "byte "):
			t.Fatalf("cut at %d: %v does not say where", n, err)
		}
		if len(list) > 3 {
			t.Fatalf("cut at %d: got %d packets", n, len(list))
		}
	}
	if len(ends) != 4 { // after the section, the interface, and two packets
		t.Errorf("got clean ends at %v, want 4 of them", ends)
	}
}

func TestAClaimedLengthAllocatesNothing(t *testing.T) {
	b := &ng{order: binary.LittleEndian}
	b.section()
	b.link(1)
	hostile := map[string][]byte{
		"enhanced":  append(bytes.Clone(b.data), b.words(blockEnhanced, 0xfffffff0)...),
		"unknown":   append(bytes.Clone(b.data), b.words(0xbad, 0xfffffff0)...),
		"interface": append(bytes.Clone(b.data), b.words(blockInterface, 0x7ffffff0)...),
		"classic":   append([]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\x7f\x01\x00\x00\x00"), b.words(0, 0, 0x7fffffff, 0x7fffffff)...),
	}
	for name, data := range hostile {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := drain(data)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrCutShort) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: allocated %d bytes", name, got)
		}
	}
}

func TestWhatIsNoCaptureIsRefusedWithAReason(t *testing.T) {
	for data, reason := range map[string]string{"": "empty", "ab": "2 bytes", "hello, world": "begins with", "snoop": "snoop", "GMBU": "Network Monitor",
		"BZh9": "bzip2", "\xfd7zXZ": "xz", "PK\x03\x04": "ZIP"} {
		_, err := NewReader(strings.NewReader(data))
		if !errors.Is(err, ErrNotCapture) || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: got %v, want ErrNotCapture because of %q", data, err, reason)
		}
	}
}

func TestWritingRefusesWhatCannotBeRead(t *testing.T) {
	w, err := NewWriter(io.Discard, Interface{LinkType: LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Packet{{Interface: 1}, {Interface: -1}, {Data: make([]byte, maxPacket+1)}} {
		if err := w.WritePacket(p); err == nil {
			t.Errorf("interface %d, %d bytes: got no error", p.Interface, len(p.Data))
		}
	}
}
