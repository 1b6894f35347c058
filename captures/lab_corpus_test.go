package captures

import (
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func labFiles(t *testing.T, exchange string, places ...string) []string {
	dir := filepath.Join(corpus(t), "lab-simopen")
	var list []string
	for _, p := range places {
		list = append(list, filepath.Join(dir, exchange+"."+p+".pcap"))
	}
	return list
}

func only(t *testing.T, a Analysis) Handshake {
	t.Helper()
	if len(a.Handshakes) != 1 {
		t.Fatalf("got %d handshakes, want 1", len(a.Handshakes))
	}
	return a.Handshakes[0]
}

func TestARealCrossingIsProvenAtEveryVantagePoint(t *testing.T) {
	for _, place := range []string{"a", "na", "nb", "b", "na-any-sll2"} {
		h := only(t, analyzeFiles(t, labFiles(t, "crossing-nat44", place)...))
		if h.Verdict != VerdictSimultaneousOpen || h.Established == nil || !*h.Established {
			t.Errorf("%s: got %v, %v", place, h.Verdict, show(h.Established))
		}
		if m := h.CrossingMargin; m == nil || *m < 15*time.Millisecond || *m > 45*time.Millisecond {
			t.Errorf("%s: got margin %v, want about 20 to 40 ms", place, m)
		}
	}
}

func TestSeveralVantagePointsAreOneHandshake(t *testing.T) {
	files := labFiles(t, "crossing-nat44", "nb", "a", "b", "na") // not in the order of the path; b's SYN passes the first place first, so b is A
	h := only(t, analyzeFiles(t, files...))
	var path []int
	for _, v := range h.Vantages {
		path = append(path, v.File)
	}
	if want := []int{2, 0, 3, 1}; !slices.Equal(path, want) {
		t.Errorf("got path %v, want %v", path, want)
	}
	if len(h.Events) != 4*14 {
		t.Errorf("got %d events, want 56", len(h.Events))
	}
	var nat []string
	for _, n := range h.NAT {
		nat = append(nat, n.Side.String()+" "+n.Inside.String()+" "+n.Outside.String())
	}
	want := []string{"a 10.2.0.2:50001 203.0.113.1:50001", "b 10.1.0.2:40001 198.51.100.1:40001"}
	if !slices.Equal(nat, want) {
		t.Errorf("got NATs %q, want %q", nat, want)
	}
	if m := *h.CrossingMargin; m != 40211245 {
		t.Errorf("got margin %v, want what the two hosts' own stamps give, 40.211245 ms", m)
	}
}

func TestACookedCaptureOfARouterShowsItsNAT(t *testing.T) {
	h := only(t, analyzeFiles(t, labFiles(t, "crossing-nat44", "na-any-sll2")...))
	if len(h.Vantages) != 2 || len(h.NAT) != 1 || h.NAT[0].Outside.String() != "198.51.100.1:40001" {
		t.Errorf("got vantage points %v and NATs %v", h.Vantages, h.NAT)
	}
}

func TestALateSideBehindAnICMPRejectingNAT(t *testing.T) {
	for place, want := range map[string]Verdict{"a": VerdictICMPRejected, "na": VerdictICMPRejected, "nb": VerdictICMPRejected, "b": VerdictUnanswered} {
		h := only(t, analyzeFiles(t, labFiles(t, "late50ms-nat44-icmp", place)...))
		if h.Verdict != want || h.Established == nil || *h.Established {
			t.Errorf("%s: got %v, %v, want %v, false", place, h.Verdict, show(h.Established), want)
		}
	}
	h := only(t, analyzeFiles(t, labFiles(t, "late50ms-nat44-icmp", "a", "na", "nb", "b")...))
	if h.Verdict != VerdictICMPRejected || len(h.Vantages) != 4 {
		t.Errorf("together: got %v at %d places, want icmp-rejected at 4", h.Verdict, len(h.Vantages))
	}
}

func TestTheLabExchangesTellNATsClocksAndTheLeak(t *testing.T) {
	for exchange, verdict := range map[string]Verdict{"crossing-nat44": VerdictSimultaneousOpen, "late50ms-nat44-icmp": VerdictICMPRejected} {
		a := analyzeFiles(t, labFiles(t, exchange, "a", "na", "nb", "b")...)
		h := only(t, a)
		if h.Verdict != verdict {
			t.Errorf("%s: got %v, want %v", exchange, h.Verdict, verdict)
		}
		var nat []string
		for _, n := range h.NAT {
			nat = append(nat, n.Side.String()+" "+n.Inside.Addr().String()+" "+n.Outside.Addr().String())
		}
		if want := []string{"a 10.1.0.2 198.51.100.1", "b 10.2.0.2 203.0.113.1"}; !slices.Equal(nat, want) {
			t.Errorf("%s: got NATs %q, want %q", exchange, nat, want)
		}
		for file, c := range a.Clocks[:3] { // one clock stamped all four files
			if c.Offset == nil || c.Offset.Abs() > *c.Bound || *c.Bound > 21*time.Millisecond || c.Applied != 0 {
				t.Errorf("%s: got clock %+v of file %d", exchange, c, file)
			}
		}
	}
}

func TestTheLabsLeakIsFoundAtEveryPlaceThatSawIt(t *testing.T) {
	for _, places := range [][]string{{"na"}, {"nb"}, {"na-any-sll2"}, {"a", "na", "nb", "b"}, {"b", "nb"}} {
		h := only(t, analyzeFiles(t, labFiles(t, "late50ms-nat44-icmp", places...)...))
		if len(h.Leaks) != 1 || h.Leaks[0].From.String() != "10.1.0.2:40004" || h.Leaks[0].Instead.String() != "198.51.100.1:40004" || h.Leaks[0].Count != 4 || h.Leaks[0].Kind != KindRstAck {
			t.Errorf("%v: got leaks %+v", places, h.Leaks)
		}
	}
	for _, place := range []string{"a", "b"} {
		if h := only(t, analyzeFiles(t, labFiles(t, "late50ms-nat44-icmp", place)...)); len(h.Leaks) != 0 {
			t.Errorf("%s: got leaks %+v where none passed", place, h.Leaks)
		}
	}
}

func TestTheLabsRefusalComesFromTheNAT(t *testing.T) {
	h := only(t, analyzeFiles(t, labFiles(t, "late50ms-nat44-icmp", "a", "na", "nb", "b")...))
	if h.ICMP == nil || h.ICMP.By != "path" || h.ICMP.Confidence != "proven" || h.ICMP.Between == nil || *h.ICMP.Between != [2]int{2, 3} {
		t.Errorf("got %+v", h.ICMP)
	}
	for _, place := range []string{"a", "na", "nb"} {
		h := only(t, analyzeFiles(t, labFiles(t, "late50ms-nat44-icmp", place)...))
		if m := h.CrossingMargin; m == nil || *m > -26500*time.Microsecond || *m < -26600*time.Microsecond {
			t.Errorf("%s: got margin %v, want a miss by 26.58 ms", place, m)
		}
	}
}

func TestPublicHandshakesKeepTheirVerdicts(t *testing.T) {
	dir := corpus(t)
	want := map[string]Verdict{
		"encap/arkime__tests__pcap__pppoe.pcap":                                              VerdictThreeWay,
		"encap/PcapPlusPlus__Tests__Pcap++Test__PcapExamples__one_http_stream_rst.pcap":      VerdictThreeWay,
		"encap/zeek__testing__btest__Traces__vlan-pcp-dei.pcapng":                            VerdictThreeWay,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__syn.pcap":                       VerdictUnanswered,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__syn-synack.pcap":                VerdictIncomplete,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__syn-then-rst.pcap":              VerdictUnanswered,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__payload-syn.pcap":               VerdictThreeWay,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__payload-synack.pcap":            VerdictThreeWay,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__rst-inject-rae.pcap":            VerdictThreeWay,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__timestamp.pcap":                 VerdictThreeWay,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__option-sack.pcap":               VerdictUnanswered,
		"handshake-shapes/zeek__testing__btest__Traces__tcp__timeout-with-pings.pcap":        VerdictThreeWay,
		"ipv6-ext-frag/suricata-verify__tests__decode-sll2-01__input.pcap":                   VerdictThreeWay,
		"link-types/PcapPlusPlus__Tests__Pcap++Test__PcapExamples__linktype_ipv6.pcap":       VerdictUnanswered,
		"syn-crossing/suricata-verify__tests__util-action-tests__util-action-03__input.pcap": VerdictIncomplete,
	}
	for name, verdict := range want {
		if h := only(t, analyzeFiles(t, filepath.Join(dir, name))); h.Verdict != verdict {
			t.Errorf("%s: got %v, want %v", name, h.Verdict, verdict)
		}
	}
}
