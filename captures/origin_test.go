package captures

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhoSentTheReset(t *testing.T) {
	byHost := []sent{
		{at: 0, side: SideA, kind: KindSyn, seq: 100},
		{at: 21 * ms, side: SideB, kind: KindRstAck, ack: 101},
		{at: 50 * ms, side: SideB, kind: KindSyn, seq: 900},
		{at: 71 * ms, side: SideA, kind: KindRstAck, ack: 901},
	}
	waiting := []sent{ // B sends the same SYN before and after the RST in its name
		{at: 0, side: SideA, kind: KindSyn, seq: 100, reach: 3},
		{at: 1 * ms, side: SideB, kind: KindSyn, seq: 900},
		{at: 20 * ms, side: SideB, kind: KindRstAck, ack: 101, start: 1},
		{at: 1001 * ms, side: SideB, kind: KindSyn, seq: 900},
	}
	fast := []sent{ // an attempt that B answers in 42 ms, and one refused after 5
		{at: 0, side: SideA, kind: KindSyn, seq: 100}, {at: 21 * ms, side: SideB, kind: KindSynAck, seq: 900, ack: 101},
		{at: 42 * ms, side: SideA, kind: KindRst, seq: 101},
		{at: 100 * ms, side: SideA, kind: KindSyn, seq: 7000, reach: 2}, {at: 105 * ms, side: SideB, kind: KindRst, start: 2},
	}
	for _, test := range []struct {
		name       string
		script     []sent
		places     []int
		by         string
		confidence string
		between    *[2]int
	}{
		{"a NAT, seen before and behind it", scenarios[VerdictRefused], []int{0, 1, 2, 3}, "path", "proven", &[2]int{2, 3}},
		{"a NAT, seen from the other host", scenarios[VerdictRefused], []int{0}, "path", "likely", nil},
		{"a NAT, in whose name the side goes on", waiting, []int{0}, "path", "proven", nil},
		{"a host, captured there", byHost, []int{3}, "b", "proven", nil},
		{"a host, captured everywhere", byHost, []int{0, 1, 2, 3}, "b", "proven", nil},
		{"a host, seen from the other", byHost, []int{0}, "b", "possible", nil},
		{"something faster than the host", fast, []int{0}, "a", "proven", nil}, // A's own RST came first
	} {
		h := only(t, newWorld().play(t, test.script...).analyse(t, test.places...))
		if h.Reset == nil {
			t.Errorf("%s: got no reset, verdict %v", test.name, h.Verdict)
			continue
		}
		r := h.Reset
		if r.By != test.by || r.Confidence != test.confidence || (r.Between == nil) != (test.between == nil) || r.Between != nil && *r.Between != *test.between {
			t.Errorf("%s: got by %s, %s, between %v, want %s, %s, %v; %+v", test.name, r.By, r.Confidence, r.Between, test.by, test.confidence, test.between, r.Reasons)
		}
		if len(r.Reasons) == 0 {
			t.Errorf("%s: got no reasons", test.name)
		}
	}
}

func TestAnICMPErrorOfTheNATIsNotTheHosts(t *testing.T) {
	w := newWorld().play(t, scenarios[VerdictICMPRejected]...)
	for _, places := range [][]int{{0}, {1}, {0, 3}} {
		h := only(t, w.analyse(t, places...))
		if h.ICMP == nil || h.ICMP.By != "path" || h.ICMP.Meaning != "communication administratively prohibited" || h.ICMP.Reporter.String() != "203.0.113.1" {
			t.Errorf("places %v: got %+v", places, h.ICMP)
		}
	}
}

func TestRefusedSynsTellByHowMuchTheyMissed(t *testing.T) {
	for verdict, want := range map[Verdict]time.Duration{VerdictRefused: -30100 * time.Microsecond, VerdictICMPRejected: -26100 * time.Microsecond} {
		w := newWorld().play(t, scenarios[verdict]...)
		for _, places := range [][]int{{0}, {1}, {2}, {0, 2, 3}} {
			h := only(t, w.analyse(t, places...))
			if h.CrossingMargin == nil || *h.CrossingMargin != want {
				t.Errorf("%v at %v: got margin %v, want %v", verdict, places, h.CrossingMargin, want)
			}
		}
	}
}

func TestACrossingThatIsRefusedHasNoMarginButAnEvidence(t *testing.T) {
	h := only(t, newWorld().play(t, // at B's NAT, where B's SYN comes first and makes it A
		sent{at: 0, side: SideA, kind: KindSyn, seq: 100, reach: 3}, sent{at: 5 * ms, side: SideB, kind: KindSyn, seq: 900, reach: 3},
		sent{at: hop, side: SideB, kind: KindRstAck, ack: 101, start: 1},
	).analyse(t, 2))
	if h.Verdict != VerdictRefused || h.CrossingMargin != nil {
		t.Errorf("got %v, margin %v", h.Verdict, h.CrossingMargin)
	}
	if !slices.ContainsFunc(h.Evidence, func(e Evidence) bool {
		return e.Text == "A's SYN had passed 14.9ms before B's was turned away: the SYNs crossed, and were refused all the same."
	}) {
		t.Errorf("got %+v", h.Evidence)
	}
}

func TestAnUntranslatedResetIsFoundAndNamed(t *testing.T) {
	w := newWorld().play(t, scenarios[VerdictICMPRejected]...)
	for places, vantage := range map[[1]int]int{{1}: 0, {2}: 0} {
		h := only(t, w.analyse(t, places[:]...))
		if len(h.Leaks) != 1 || h.Leaks[0].From.String() != "10.1.0.2:4001" || h.Leaks[0].Instead.String() != "198.51.100.1:4001" || h.Leaks[0].Vantage != vantage || h.Leaks[0].Side != SideA {
			t.Errorf("place %v: got leaks %+v", places, h.Leaks)
		}
	}
	h := only(t, w.analyse(t, 3, 0, 1, 2)) // the first file is B's
	if len(h.Leaks) != 1 || h.Leaks[0].Side != SideB || h.Vantages[h.Leaks[0].Vantage].Name != "na" {
		t.Errorf("got leaks %+v at %+v", h.Leaks, h.Vantages)
	}
}

func TestTheRhythmOfSynsNamesTheSystem(t *testing.T) {
	play := func(seconds ...int) Handshake {
		var script []sent
		at := 0
		for _, s := range append([]int{0}, seconds...) {
			at += s
			script = append(script, sent{at: time.Duration(at) * time.Second, side: SideA, kind: KindSyn, seq: 100, reach: 2})
		}
		return only(t, newWorld().play(t, script...).analyse(t, 0))
	}
	for _, test := range []struct {
		seconds []int
		want    []string
	}{
		{[]int{1, 1, 1, 1, 1, 2, 4}, []string{"linux>=6.5"}},
		{[]int{1, 2, 4}, []string{"linux<6.5"}},
		{[]int{1}, []string{"linux>=6.5", "linux<6.5"}},
		{[]int{5}, []string{}},
	} {
		c := play(test.seconds...).Cadence
		if len(c) != 1 || c[0].Kind != "kernel" || !slices.Equal(c[0].Stacks, test.want) || len(c[0].Gaps) != len(test.seconds) {
			t.Errorf("%v: got %+v, want %v", test.seconds, c, test.want)
		}
	}
}

func TestAConnectLoopIsNotTheKernels(t *testing.T) {
	h := only(t, newWorld().play(t,
		sent{at: 0, side: SideA, kind: KindSyn, seq: 100, reach: 2}, sent{at: 5 * ms, side: SideA, kind: KindSyn, seq: 5000, reach: 2},
		sent{at: 10 * ms, side: SideA, kind: KindSyn, seq: 9000, reach: 2},
	).analyse(t, 0))
	if len(h.Cadence) != 1 || h.Cadence[0].Kind != "connect-loop" || len(h.Cadence[0].Stacks) != 0 {
		t.Errorf("got %+v", h.Cadence)
	}
}

func TestALowTTLIsNoDistance(t *testing.T) {
	h := play(t, "A syn 100 ttl=2", "B syn 900 ttl=1", "A syn 100 ttl=64 +1s", "B rst-ack 0 101 ttl=63")[0]
	for _, r := range h.Reset.Reasons {
		if strings.Contains(r.Text, "hops behind it") {
			t.Errorf("got %q from a SYN that was sent to die on its way", r.Text)
		}
	}
	if !slices.ContainsFunc(h.Limits, func(s string) bool { return strings.HasPrefix(s, "This was captured on A's host") }) {
		t.Errorf("got %q, want A's host in it: a SYN of A's has TTL 64", h.Limits)
	}
}

func TestARSTThatTakesASynAckBackAnswersNoSyn(t *testing.T) {
	for _, reset := range []string{"B rst 901", "B rst-ack 901 101"} {
		h := play(t, "A syn 100", "B syn-ack 900 101 ttl=50", reset+" ttl=50")[0]
		if h.Verdict != VerdictRefused || h.Reset == nil || h.Reset.By != "b" {
			t.Errorf("%s: got %v by %+v, want one by b", reset, h.Verdict, h.Reset)
			continue
		}
		for _, r := range h.Reset.Reasons {
			if strings.Contains(r.Text, "in answer to a SYN") {
				t.Errorf("%s: got %q", reset, r.Text)
			}
		}
	}
}

func TestATTLCountsOnce(t *testing.T) {
	h := play(t, "A syn 100", "B syn 900 ttl=50", "A rst-ack 0 901")[0] // on A's host, which is known by its TTL
	ttls := 0
	for _, r := range h.Reset.Reasons {
		if strings.Contains(r.Text, "own host") || strings.Contains(r.Text, "TTL") || strings.Contains(r.Text, "hops") {
			ttls++
		}
	}
	if ttls != 1 {
		t.Errorf("got %d reasons that rest on the TTL, want 1: %+v", ttls, h.Reset.Reasons)
	}
}
