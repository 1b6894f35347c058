package lab

import (
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"slices"
	"testing"
)

func TestNamedProfilesParseToThemselves(t *testing.T) {
	for _, p := range Profiles() {
		got, err := ParseProfile(p.Name)
		if err != nil || got != p {
			t.Errorf("%s: got %+v, %v, want %+v", p.Name, got, err, p)
		}
		if p.Description == "" || p.StandsFor == "" || !p.IPv4 && !p.IPv6 {
			t.Errorf("%s does not say what it is: %+v", p.Name, p)
		}
		text, err := json.Marshal(p)
		var back Profile
		if err != nil || json.Unmarshal(text, &back) != nil || back != p {
			t.Errorf("%s: %s became %+v (%v)", p.Name, text, back, err)
		}
	}
}

func TestProfileGrammarSetsWhatItNames(t *testing.T) {
	for _, c := range []struct {
		text string
		want Profile
	}{
		{"unsolicited=rst", Profile{Ports: PortsPreserve, Unsolicited: Reset}},
		{"engine=netfilter,ports=random,mapping=connection", Profile{Ports: PortsRandom, Unsolicited: Drop}},
		{"mapping=eim,filtering=apdf,hairpin=no,unsolicited=poison", Profile{Ports: PortsPreserve, Unsolicited: Poison}},
	} {
		got, err := ParseProfile(c.text)
		if err != nil || got.Ports != c.want.Ports || got.Unsolicited != c.want.Unsolicited || got.Box != BoxNAT {
			t.Errorf("%s: got %+v, %v, want %+v", c.text, got, err, c.want)
		}
	}
}

func TestProfileGrammarNamesTheWrongWord(t *testing.T) {
	for text, want := range map[string]string{"linx": "linx", "": "", "port=random": "port", "ports=lowest": "lowest", "ports=random,,": "", "ports=": ""} {
		_, err := ParseProfile(text)
		if word, ok := errors.AsType[*UnknownWord](err); !ok || word.Word != want || len(word.Valid) == 0 {
			t.Errorf("%q: got %v, want a complaint about %q", text, err, want)
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
	same, linux := profiles[7], profiles[3]
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
