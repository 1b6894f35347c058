package lab

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// profile is a named profile that must exist.
func profile(t testing.TB, name string) Profile {
	t.Helper()
	p, err := ParseProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNamedProfilesParseToThemselves(t *testing.T) {
	for _, p := range Profiles() {
		got, err := ParseProfile(p.Name)
		if err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%s: got %+v, %v, want %+v", p.Name, got, err, p)
		}
		if p.Description == "" || p.StandsFor == "" || p.Source == "" || !p.IPv4 && !p.IPv6 {
			t.Errorf("%s does not say what it is: %+v", p.Name, p)
		}
		if _, err := json.Marshal(p); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		for _, b := range p.Boxes {
			if again, err := newBox(b.spelling()); err != nil || again.spelling() != b.spelling() {
				t.Errorf("%s: %q became %q, %v", p.Name, b.spelling(), again.spelling(), err)
			}
		}
	}
}

func TestProfileGrammarSetsWhatItNames(t *testing.T) {
	for text, want := range map[string]string{
		"unsolicited=rst": "engine=emulated unsolicited=rst",
		"mapping=connection,ports=random,engine=netfilter": "engine=netfilter ports=random seq=window overload=yes",
		"ports=sequential:-2,mapping=apdm,churn=50:4":      "ports=sequential:-2 mapping=apdm churn=50:4 filtering=apdf",
		"linux,engine=emulated":                            "engine=emulated seq=window overload=yes",
		"openwrt,udp=drop":                                 "engine=netfilter unsolicited=rst udp=drop",
	} {
		p, err := ParseProfile(text)
		if err != nil || len(p.Boxes) != 1 {
			t.Errorf("%s: got %+v, %v, want one box", text, p, err)
			continue
		}
		for setting := range strings.FieldsSeq(want) {
			key, value, _ := strings.Cut(setting, "=")
			if got := p.Boxes[0].Settings[key]; got != value {
				t.Errorf("%s: %s is %q, want %q", text, key, got, value)
			}
		}
	}
}

func TestProfileGrammarNamesTheWrongWord(t *testing.T) {
	for text, want := range map[string]string{"linx": "linx", "": "", "port=random": "port", "ports=lowes": "lowes",
		"ports=random,,": "", "ports=": "", "linux+linx": "linx", "engine=kernel": "kernel", "linux,udp=no": "no"} {
		_, err := ParseProfile(text)
		if word, ok := errors.AsType[*UnknownWord](err); !ok || word.Word != want || len(word.Valid) == 0 {
			t.Errorf("%q: got %v, want a complaint about %q", text, err, want)
		}
	}
}

func TestNetfilterSaysWhatItCannotDo(t *testing.T) {
	for text, want := range map[string]string{
		"linux,seq=rewrite":                 "seq=rewrite",
		"openwrt,filtering=eif":             "filtering=eif",
		"linux,ports=random":                "mapping=eim with ports=random",
		"linux,mapping=connection":          "mapping=connection with ports=preserve",
		"linux,ports=band:9":                "ports=band:9",
		"linux,churn=3":                     "churn=3",
		"engine=netfilter,unsolicited=hold": "unsolicited=hold",
	} {
		_, err := ParseProfile(text)
		if cannot, ok := errors.AsType[*NotNetfilter](err); !ok || cannot.What != want {
			t.Errorf("%s: got %v, want that netfilter cannot do %s", text, err, want)
		}
	}
}

func TestChainsStandBehindEachOther(t *testing.T) {
	p, err := ParseProfile("linux,udp=drop+cgn-block-512+symmetric")
	if err != nil || len(p.Boxes) != 3 || !p.Boxes[0].DropUDP || p.Boxes[1].Settings["ports"] != "block:512" {
		t.Errorf("got %+v, %v, want three boxes", p, err)
	}
	for _, bad := range []string{"linux+public", "firewall+linux", "linux+firewall", "linux+linux+linux+linux+linux"} {
		if p, err := ParseProfile(bad); err == nil {
			t.Errorf("%s: got %+v, want an error", bad, p)
		}
	}
}

func TestPlannedNetworksAreWhole(t *testing.T) {
	for _, a := range Profiles() {
		for _, b := range Profiles() {
			s := PlanNetwork(a, b, Link{})
			names, seen := s.nodeNames(), map[netip.Addr]bool{}
			for _, want := range []string{"coordinator", "time", "a", "b"} {
				if !slices.Contains(names, want) {
					t.Errorf("%s × %s has no node %s", a.Name, b.Name, want)
				}
			}
			for _, n := range s.Nodes {
				for _, address := range n.addresses() {
					if seen[address] {
						t.Errorf("%s × %s has the address %v twice", a.Name, b.Name, address)
					}
					seen[address] = true
				}
			}
			_, ends := s.segments()
			for name, list := range ends {
				if len(list) < 2 {
					t.Errorf("%s × %s: only one end in %s", a.Name, b.Name, name)
				}
			}
			if text, err := json.Marshal(s); err != nil || len(text) == 0 {
				t.Errorf("%s × %s does not marshal: %v", a.Name, b.Name, err)
			}
		}
	}
}

func TestSharedBoxServesBothClients(t *testing.T) {
	same, _ := ParseProfile("same-nat")
	linux, _ := ParseProfile("linux")
	for _, pair := range [][2]Profile{{same, linux}, {linux, same}, {same, same}} {
		if boxes := PlanNetwork(pair[0], pair[1], Link{}).Boxes(); len(boxes) != 1 || boxes[0].Name != "nat-a" {
			t.Errorf("%s × %s: got boxes %+v, want one", pair[0].Name, pair[1].Name, boxes)
		}
	}
}

// The values are those of Newcombe, Statistics in Medicine 17 (1998), table I,
// method 3.
func TestWilsonIntervalIsThePublishedOne(t *testing.T) {
	for _, c := range []struct {
		k, n   int
		lo, hi float64
	}{{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}, {29, 29, 0.8830, 1}} {
		got := wilson(c.k, c.n)
		if math.Abs(got[0]-c.lo) > 5e-5 || math.Abs(got[1]-c.hi) > 5e-5 {
			t.Errorf("%d of %d: got %.4f, want %.4f to %.4f", c.k, c.n, got, c.lo, c.hi)
		}
	}
}

func TestQuantilesAreMeasuredValues(t *testing.T) {
	var values []int64
	for i := range int64(100) {
		values = append(values, 100-i)
	}
	q := quantiles(values)
	if *q.P50 != 50 || *q.P95 != 95 || *q.P99 != 99 || *q.Max != 100 {
		t.Errorf("got %d, %d, %d, %d, want 50, 95, 99, 100", *q.P50, *q.P95, *q.P99, *q.Max)
	}
	if q := quantiles(nil); q.P50 != nil || q.Max != nil {
		t.Errorf("of nothing: got %+v, want nothing", q)
	}
}

func TestSummaryCountsValidTrialsOnly(t *testing.T) {
	reset, poor := "nat-reset", "clock-too-poor"
	s := Summarize([]Trial{
		{Valid: true, Established: true, EstablishedAfter: new(int64(40))},
		{Valid: true, Cause: &reset, TrueCause: &reset},
		{Valid: true, Cause: &poor, TrueCause: &reset},
		{Valid: true, Cause: &poor},
		{Established: true, EstablishedAfter: new(int64(1))},
	})
	if s.Trials != 5 || s.Valid != 4 || s.Established != 1 || *s.Success != .25 || s.Diagnosed != 2 || *s.DiagnosisCorrect != .5 || *s.EstablishedAfter.Max != 40 {
		t.Errorf("got %+v", s)
	}
}

func TestBothSidesMustAgree(t *testing.T) {
	open, late := "simultaneous-open", "late-crossing"
	yes, no := true, false
	got := mergeMeets(meetDocument{Established: true, Verdict: &open, Crossing: &yes}, meetDocument{Verdict: &late, Crossing: &no, Error: &meetError{Kind: "peer-absent"}})
	if got.Established || *got.Verdict != late || *got.Crossing || *got.Cause != "peer-absent" {
		t.Errorf("got %+v, want the doubting side's word", got)
	}
}

func FuzzHeaderParserKeepsItsBounds(f *testing.F) {
	f.Add([]byte{0x45, 19: 0, 33: 2})
	f.Add(append([]byte{0x60, 6: 6}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, ok := parseHeader(b); ok && !h.source.IsValid() {
			t.Errorf("%x: a header without a source", b)
		}
	})
}
