package captures

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// trueAddresses are those of a world.
var trueAddresses = []string{"10.1.0.2", "198.51.100.1", "10.2.0.2", "203.0.113.1"}

func hidden(t *testing.T, script []sent, classic bool) (Analysis, []byte) {
	t.Helper()
	w := newWorld().play(t, script...)
	sources := func() (list []Source) {
		for p := range 4 {
			if len(w.perPlace[p]) > 0 {
				list = append(list, w.file(t, placeNames[p], w.perPlace[p]))
			}
		}
		return list
	}
	hide := new(Pseudonyms)
	hide.Of(netip.MustParseAddr("203.0.113.200")) // so that no pseudonym is by chance the address itself
	for range 3 {
		hide.Of(netip.MustParseAddr("10.9.9.9"))
	}
	a, err := AnalyzeHidden(sources(), Filter{}, hide)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	leftOut, err := Export{Classic: classic, Hide: hide}.Write(&file, a, sources())
	if err != nil || leftOut != 0 {
		t.Fatalf("got %d packets left out, %v", leftOut, err)
	}
	return a, file.Bytes()
}

func TestPrivacyLeavesNoAddressInDocumentsAndCaptures(t *testing.T) {
	for want, script := range scenarios {
		for _, classic := range []bool{false, true} {
			a, file := hidden(t, script, classic)
			document, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range trueAddresses {
				if strings.Contains(string(document), `"`+text) || strings.Contains(string(document), " "+text) || bytes.Contains(file, netip.MustParseAddr(text).AsSlice()) {
					t.Errorf("%v, classic %v: %s is still there", want, classic, text)
				}
			}
			if bytes.Contains(file, []byte("hello")) {
				t.Errorf("%v, classic %v: data is still there", want, classic)
			}
		}
	}
}

func TestPrivacyChangesNoVerdict(t *testing.T) {
	for want, script := range scenarios {
		open := only(t, newWorld().play(t, script...).analyse(t, 0, 1, 2))
		a, file := hidden(t, script, false)
		again, err := Analyze([]Source{{Name: "hidden", Reader: bytes.NewReader(file)}}, Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []Handshake{only(t, a), only(t, again)} {
			if h.Verdict != want || len(h.Leaks) != len(open.Leaks) {
				t.Errorf("got %v with %d leaks, want %v with %d", h.Verdict, len(h.Leaks), want, len(open.Leaks))
			}
		}
	}
}

func TestChecksumsOfHiddenPacketsAreRight(t *testing.T) {
	for want, script := range scenarios {
		_, file := hidden(t, script, false)
		list, _, _ := drain(file)
		for i, p := range list {
			header, protocol, _ := addresses(p.Data)
			if sum := fold(sum16(p.Data[:header])); sum != 0xffff {
				t.Errorf("%v: packet %d: got the sum %#x over the IP header", want, i+1, sum)
			}
			if p.Length > len(p.Data) && protocol == 6 {
				continue // its data is gone, and the checksum is of the whole
			}
			sum := sum16(p.Data[header:])
			if protocol == 6 {
				sum += pseudoHeader(p.Data) + 6 + uint32(len(p.Data)-header)
			}
			if fold(sum) != 0xffff {
				t.Errorf("%v: packet %d: got the sum %#x over protocol %d", want, i+1, fold(sum), protocol)
			}
			if protocol == 1 {
				if quote := p.Data[header+8:]; fold(sum16(quote[:20])) != 0xffff || fold(sum16(quote[20:])+pseudoHeader(quote)+6+uint32(len(quote)-20)) != 0xffff {
					t.Errorf("%v: packet %d: the quoted packet has a wrong checksum", want, i+1)
				}
			}
		}
	}
}

func TestAPseudonymKeepsWhatAnAddressIsFor(t *testing.T) {
	p := new(Pseudonyms)
	for _, test := range []struct{ given, within string }{
		{"10.77.1.2", "10.0.0.0/8"}, {"192.168.4.4", "10.0.0.0/8"}, {"100.100.1.1", "100.64.0.0/10"}, {"8.8.8.8", "192.0.2.0/24"},
		{"169.254.7.7", "169.254.0.0/16"}, {"2a00::1", "2001:db8::/32"}, {"fe80::1234", "fe80::/10"}, {"fd12::9", "fd00::/8"},
		{"127.0.0.1", "127.0.0.1/32"}, {"::1", "::1/128"}, {"224.0.0.5", "224.0.0.5/32"}, {"0.0.0.0", "0.0.0.0/32"},
	} {
		got := p.Of(netip.MustParseAddr(test.given))
		if !netip.MustParsePrefix(test.within).Contains(got) {
			t.Errorf("%s: got %s, want one of %s", test.given, got, test.within)
		}
		if again := p.Of(netip.MustParseAddr(test.given)); again != got {
			t.Errorf("%s: got %s, then %s", test.given, got, again)
		}
	}
}

func TestAThousandAddressesHaveDifferentPseudonyms(t *testing.T) {
	p, seen := new(Pseudonyms), map[netip.Addr]bool{}
	for i := range 2000 {
		seen[p.Of(netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)}))] = true
	}
	if len(seen) != 2000 {
		t.Errorf("got %d", len(seen))
	}
}

func TestAClassicFileOfSeveralLinkTypesHoldsBarePackets(t *testing.T) {
	crossing := scenarios[VerdictSimultaneousOpen]
	w := newWorld().play(t, crossing...)
	var ethernet bytes.Buffer
	out, err := NewWriter(&ethernet, Interface{Name: "eth0", LinkType: LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range w.perPlace[0] {
		p.Data = slices.Concat(make([]byte, 12), []byte{8, 0}, p.Data, make([]byte, 4)) // with padding
		p.Length = len(p.Data)
		if err := out.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	sources := func() []Source {
		return []Source{{Name: "a", Reader: bytes.NewReader(ethernet.Bytes())}, w.file(t, "b", w.perPlace[3])}
	}
	a, err := Analyze(sources(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := (Export{Classic: true}).Write(&file, a, sources()); err != nil {
		t.Fatal(err)
	}
	list, r, _ := drain(file.Bytes())
	if r.Format() != FormatPcapNano || r.LinkType(list[0]) != LinkRaw || len(list) != 12 {
		t.Errorf("got %v, %v, %d packets", r.Format(), r.LinkType(list[0]), len(list))
	}
	for i, p := range list {
		if p.Length != len(p.Data) || p.Data[0] != 0x45 {
			t.Errorf("packet %d: got %d of %d bytes, beginning with %#x", i+1, len(p.Data), p.Length, p.Data[0])
		}
	}
}

func TestNothingIsLeftBehindTheEndOfOptions(t *testing.T) {
	options := []byte{2, 4, 5, 180, 0, 2, 4, 10, 1, 0, 2, 0}
	hideOptions(options)
	if want := append([]byte{2, 4, 5, 180}, make([]byte, 8)...); !bytes.Equal(options, want) {
		t.Errorf("got %v, want %v", options, want)
	}
}

func FuzzHide(f *testing.F) {
	for _, line := range []string{"A syn 100", "A icmp 100"} {
		_, data := frame(f, line, LinkEthernet)
		f.Add(data[14:])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		given := bytes.Clone(data)
		hidden, ok := new(Pseudonyms).hide(given)
		if ok && len(hidden) > len(data) {
			t.Fatalf("got %d bytes of %d", len(hidden), len(data))
		}
	})
}
