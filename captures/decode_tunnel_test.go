package captures

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

const (
	etherHead = "020000000001 020000000002 "
	outer4    = "4500 0000 0000 0000 40 %s 0000 0a000001 0a000002 " // the length is filled in
	outer6    = "60000000 0000 %s 40 20010db8000000000000000000000001 20010db8000000000000000000000002 "
)

// tunnels are the headers before an IPv4 packet, of Ethernet frames.
var tunnels = map[string]string{
	"VLAN":             etherHead + "8100 0005 0800",
	"QinQ":             etherHead + "88a8 0005 8100 0006 0800",
	"old QinQ":         etherHead + "9100 0005 8100 0006 0800",
	"PPPoE":            etherHead + "8864 1100 0001 0000 0021",
	"PPPoE compressed": etherHead + "8864 1100 0001 0000 21",
	"MPLS":             etherHead + "8847 00010040 00011140",
	"MPLS Ethernet":    etherHead + "8847 00011140 00000000" + etherHead + "0800",
	"GRE":              etherHead + "0800" + ip4Head("2f") + "0000 0800",
	"GRE with fields":  etherHead + "0800" + ip4Head("2f") + "b000 0800 00000000 00000001 00000002",
	"GRE Ethernet":     etherHead + "0800" + ip4Head("2f") + "0000 6558" + etherHead + "0800",
	"ERSPAN":           etherHead + "0800" + ip4Head("2f") + "1000 88be 00000001 0000000000000000" + etherHead + "0800",
	"PPTP":             etherHead + "0800" + ip4Head("2f") + "3081 880b 00000001 00000002 00000003 ff03 0021",
	"MPLS in GRE":      etherHead + "0800" + ip4Head("2f") + "0000 8847 00011140",
	"VXLAN":            etherHead + "0800" + ip4Head("11") + "c000 12b5 0000 0000 08000000 00000500" + etherHead + "0800",
	"Geneve":           etherHead + "0800" + ip4Head("11") + "c000 17c1 0000 0000 01006558 00000500 00000000" + etherHead + "0800",
	"IP in IP":         etherHead + "0800" + ip4Head("04"),
	"IPv4 in IPv6":     etherHead + "86dd" + ip6Head("04"),
	"IPv4 in 6 in 4":   etherHead + "0800" + ip4Head("29") + ip6Head("04"),
	"AH":               etherHead + "0800" + ip4Head("33") + "04 04 0000 00000001 00000001 000000000000000000000000",
	"GRE in IPv6":      etherHead + "86dd" + ip6Head("2f") + "0000 0800",
	"fragment header":  etherHead + "86dd" + ip6Head("2c") + "04 00 0001 00000001",
	"hop-by-hop":       etherHead + "86dd" + ip6Head("00") + "04 00 010400000000",
	"routing":          etherHead + "86dd" + ip6Head("2b") + "04 00 0000 00000000",
}

func ip4Head(protocol string) string { return strings.Replace(outer4, "%s", protocol, 1) }
func ip6Head(next string) string     { return strings.Replace(outer6, "%s", next, 1) }

func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tunnelled puts a SYN-ACK behind each header.
func tunnelled(t testing.TB) map[string][]byte {
	t.Helper()
	_, inner := frame(t, "A syn-ack 100 901 ttl=61", LinkRaw)
	frames := map[string][]byte{}
	for name, head := range tunnels {
		frames[name] = tunnel(t, head, inner)
	}
	return frames
}

// tunnel puts a packet behind headers and sets their lengths.
func tunnel(t testing.TB, head string, inner []byte) []byte {
	t.Helper()
	data := append(bytesOf(t, head), inner...)
	if data[12] == 0x08 {
		binary.BigEndian.PutUint16(data[16:], uint16(len(data)-14))
	}
	at := 14
	if data[12] == 0x08 {
		at += 20
	}
	if data[12] == 0x86 || data[12] == 0x08 && data[23] == 41 {
		binary.BigEndian.PutUint16(data[at+4:], uint16(len(data)-at-40))
	}
	return data
}

func TestATunnelledSegmentIsTheInnerOne(t *testing.T) {
	want := Segment{From: hostA, To: hostB, Kind: KindSynAck, Seq: 100, Ack: 901, Window: 1000, TTL: 61}
	for name, data := range tunnelled(t) {
		if got, err := NewDecoder().Decode(LinkEthernet, data); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestATunnelCutAnywhereDoesNoHarm(t *testing.T) {
	d := NewDecoder()
	for name, data := range tunnelled(t) {
		for n := range data {
			if s, err := d.Decode(LinkEthernet, data[:n]); err == nil && n < len(data)-20 {
				t.Errorf("%s cut at %d: got %+v", name, n, s)
			}
		}
	}
}

func TestLinkTypesWithoutAHeaderOfTheirOwn(t *testing.T) {
	_, packet := frame(t, "A syn 100", LinkRaw)
	for link, head := range map[LinkType]string{linkPPPEther: "1100 0001 0000 0021", linkPPPSerial: "ff03 0021", linkRawOpenBSD: ""} {
		if got, err := NewDecoder().Decode(link, append(bytesOf(t, head), packet...)); err != nil || got.Seq != 100 {
			t.Errorf("%v: got %+v, %v", link, got, err)
		}
	}
}

// long6 is an IPv6 packet that says nothing of its length, with and without
// the option of RFC 2675.
func long6(t testing.TB, jumbo bool, payload int) []byte {
	head := "60000000 0000 06 40"
	if jumbo {
		head = "60000000 0000 00 40"
	}
	b := bytesOf(t, head+"20010db8000000000000000000000001 20010db8000000000000000000000002")
	if jumbo {
		b = append(b, 6, 0, 0xc2, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(8+20+payload))
	}
	return append(append(b, bytesOf(t, "1f40 01bb 00000064 00000385 50 10 0400 0000 0000")...), make([]byte, payload)...)
}

func TestPacketsLongerThan64KiBKeepTheirLength(t *testing.T) {
	const payload = 70_000
	_, four := frame(t, "A data 101 901 len=100", LinkRaw)
	four = append(four, make([]byte, payload-100)...)
	four[2], four[3] = 0, 0 // no total length
	for name, data := range map[string][]byte{"IPv4": four, "jumbogram": long6(t, true, payload), "IPv6 of no length": long6(t, false, payload)} {
		if got, err := NewDecoder().Decode(LinkRaw, data); err != nil || got.PayloadLen != payload || got.Kind != KindData {
			t.Errorf("%s: got %d bytes, %v, want %d", name, got.PayloadLen, err, payload)
		}
		if got, err := NewDecoder().decode(LinkRaw, data[:100], len(data)-100); err != nil || got.PayloadLen != payload {
			t.Errorf("%s, cut: got %d bytes, %v, want %d", name, got.PayloadLen, err, payload)
		}
	}
}

func TestAFirstFragmentShowsItsSegmentAndOthersNothing(t *testing.T) {
	_, data := frame(t, "A syn 100", LinkRaw)
	data[6] = 0x20 // more fragments
	if got, err := NewDecoder().Decode(LinkRaw, data); err != nil || got.Kind != KindSyn {
		t.Errorf("first: got %+v, %v, want the SYN", got, err)
	}
	data[7] = 9 // and an offset
	if _, err := NewDecoder().Decode(LinkRaw, data); !errors.Is(err, ErrNotTCP) {
		t.Errorf("later: got %v, want ErrNotTCP", err)
	}
}

func TestDamagedIPOptionsLeaveTheSegment(t *testing.T) {
	_, packet := frame(t, "A syn 100", LinkRaw)
	data := append(append(append([]byte{}, packet[:20]...), 0x44, 0xff, 1, 1), packet[20:]...) // an option longer than its header
	data[0] = 0x46
	data[3] += 4
	if got, err := NewDecoder().Decode(LinkRaw, data); err != nil || got.Seq != 100 {
		t.Errorf("got %+v, %v, want the SYN", got, err)
	}
}

func TestPaddingBehindAnIPv6PacketIsNoPayload(t *testing.T) {
	data := long6(t, true, 0)
	data[5], data[42], data[43] = 28, 1, 4 // a length, and a padding option in place of the jumbo one
	if got, err := NewDecoder().Decode(LinkRaw, append(data, make([]byte, 6)...)); err != nil || got.PayloadLen != 0 || got.Kind != KindAck {
		t.Errorf("got %v with %d bytes, %v, want an ack without", got.Kind, got.PayloadLen, err)
	}
}
