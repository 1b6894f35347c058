package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tcppunch/captures"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// crossing is a simultaneous open as two hosts saw it, 20 ms apart, B's SYN 3 ms
// after A's.
func crossing() captures.Handshake {
	a, b := netip.MustParseAddrPort("10.1.0.2:40001"), netip.MustParseAddrPort("10.2.0.2:50001")
	isnA, isnB, stands, margin := uint32(100), uint32(900), true, 17*time.Millisecond
	h := captures.Handshake{
		A: a, B: b, Verdict: captures.VerdictSimultaneousOpen, Established: &stands, CrossingMargin: &margin,
		ISNA: &isnA, ISNB: &isnB, Vantages: []captures.Vantage{{Name: "a.pcap"}, {File: 1, Name: "b.pcap"}},
		NAT:      []captures.NAT{{Inside: a, Outside: b, Side: captures.SideA, Rewrites: []captures.Rewrite{captures.RewriteAddress, captures.RewritePort}}},
		Evidence: []captures.Evidence{{Text: "A's SYN had left\x1b[2J before <script>alert(1)</script>", File: 1, Packet: 2}},
	}
	flight := func(n int, side captures.Side, kind captures.Kind, seq, ack uint32, left, arrived time.Duration) {
		for v, at := range []time.Duration{left, arrived} {
			if side == captures.SideB {
				v = 1 - v
			}
			h.Events = append(h.Events, captures.Event{File: v, Vantage: v, Packet: n + 1, Flight: n, At: start.Add(at), Side: side, Kind: kind, Seq: seq, Ack: ack, From: a, To: b})
		}
	}
	ms := time.Millisecond
	flight(0, captures.SideA, captures.KindSyn, 100, 0, 0, 20*ms)
	flight(1, captures.SideB, captures.KindSyn, 900, 0, 3*ms, 23*ms)
	flight(2, captures.SideB, captures.KindSynAck, 900, 101, 20*ms, 40*ms)
	flight(3, captures.SideA, captures.KindSynAck, 100, 901, 23*ms, 43*ms)
	flight(4, captures.SideA, captures.KindAck, 101, 901, 40*ms, 60*ms)
	slices.SortStableFunc(h.Events, func(x, y captures.Event) int { return x.At.Compare(y.At) })
	return h
}

func draw(t *testing.T, h captures.Handshake, o LadderOptions) string {
	t.Helper()
	var b bytes.Buffer
	if err := Ladder(&b, h, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTwoSynsUnderWayTogetherCross(t *testing.T) {
	if text := draw(t, crossing(), LadderOptions{}); strings.Count(text, "╳") != 1 {
		t.Errorf("got no crossing in\n%s", text)
	}
	if text := draw(t, crossing(), LadderOptions{ASCII: true}); strings.Count(text, "X") != 1 {
		t.Errorf("got no crossing in\n%s", text)
	}
}

func TestSynsOneAfterTheOtherDoNotCross(t *testing.T) {
	h := crossing()
	h.Events = slices.DeleteFunc(h.Events, func(e captures.Event) bool { return e.Kind != captures.KindSyn })
	for i := range h.Events {
		if h.Events[i].Side == captures.SideB {
			h.Events[i].At = h.Events[i].At.Add(30 * time.Millisecond)
		}
	}
	slices.SortStableFunc(h.Events, func(x, y captures.Event) int { return x.At.Compare(y.At) })
	if text := draw(t, h, LadderOptions{}); strings.Contains(text, "╳") {
		t.Errorf("got a crossing in\n%s", text)
	}
}

func TestTheLadderKeepsItsWidth(t *testing.T) {
	for _, width := range []int{60, 80, 132} {
		for line := range strings.Lines(draw(t, crossing(), LadderOptions{Width: width})) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("width %d: got %d columns in %q", width, n, line)
			}
		}
	}
}

func TestPlainASCIIIsPlainASCII(t *testing.T) {
	for _, r := range draw(t, crossing(), LadderOptions{ASCII: true}) {
		if r > 126 {
			t.Fatalf("got %q", r)
		}
	}
}

func TestTheLadderTellsTimesKindsVerdictAndTranslation(t *testing.T) {
	text := draw(t, crossing(), LadderOptions{})
	for _, want := range []string{"0.000 ms", "3.000 ms", "60.000 ms", "SYN-ACK seq=0 ack=1", "ACK seq=1 ack=1", "verdict: simultaneous-open, established",
		"17.000 ms", "10.1.0.2:40001 -> 10.2.0.2:50001 (address, port)", "[b#2]"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestForeignTextReachesNoTerminalAsControl(t *testing.T) {
	if text := draw(t, crossing(), LadderOptions{}); strings.Contains(text, "\x1b") {
		t.Errorf("got an escape character in %q", text)
	}
	for given, want := range map[string]string{
		"plain ü 漢": "plain ü 漢", "a\x1b[31m": `a\x1b[31m`, "line\nnext\r": `line\nnext\r`, "\u202eabc": `\u202eabc`, "bad\xff": `bad\xff`, "\u009b": `\u009b`, "\ufffd": "\ufffd",
	} {
		if got := Escape(given); got != want {
			t.Errorf("Escape(%q): got %q, want %q", given, got, want)
		}
	}
}

func TestThePageStandsAloneAndEscapes(t *testing.T) {
	h := crossing()
	h.Vantages[0].Name = `<img src="http://example.org/x">`
	var b bytes.Buffer
	if err := HTML(&b, "<b>title</b>", HandshakeSection(h)); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"<script", "<img", "<b>title", "src=\"http", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, want := range []string{"&lt;script", "<svg", "simultaneous-open, established", "the two SYNs cross here"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestForeignTextReordersNoPage(t *testing.T) {
	h := crossing()
	h.Vantages[0].Name = "\u202eemordnilap\x1b\x00"
	a := captures.Analysis{Files: []captures.File{{Path: "\u202egnpacp.x\x1b"}}, Handshakes: []captures.Handshake{h}}
	var b bytes.Buffer
	if err := HTML(&b, "page", AnalysisSections(a)...); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"\u202e", "\x1b", "\x00"} {
		if i := strings.Index(b.String(), bad); i >= 0 {
			t.Errorf("the page has %q in %q", bad, b.String()[max(0, i-40):i+20])
		}
	}
}

func TestThePictureIsWellFormed(t *testing.T) {
	h := crossing()
	h.Vantages[0].Name = `"<&>`
	var b bytes.Buffer
	if err := SVG(&b, h); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(&b)
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNamesHaveRoomOnATelephone(t *testing.T) {
	h := crossing()
	h.A, h.B = netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:40001"), netip.MustParseAddrPort("[2001:db8:7777:8888:9999:aaaa:bbbb:cccc]:50001")
	h.Vantages = []captures.Vantage{{Name: "client a"}, {File: 1, Name: "NAT a outside"}, {File: 2, Name: "NAT b outside"}, {File: 3, Name: "client b"}}
	for i := range h.Events {
		h.Events[i].Vantage *= 3
	}
	var b strings.Builder
	if err := narrow.svg(&b, h); err != nil {
		t.Fatal(err)
	}
	type box struct {
		text               string
		left, right, above float64
	}
	var boxes []box
	for _, m := range regexp.MustCompile(`<text[^>]* x="([0-9.]+)" y="([0-9]+)" text-anchor="middle"[^>]*>([^<]*)</text>`).FindAllStringSubmatch(b.String(), -1) {
		x, _ := strconv.ParseFloat(m[1], 64)
		y, _ := strconv.ParseFloat(m[2], 64)
		half := narrow.font * 0.6 * float64(utf8.RuneCountInString(m[3])) / 2
		boxes = append(boxes, box{m[3], x - half, x + half, y})
	}
	if len(boxes) != 6 || !strings.Contains(b.String(), ">NAT a outside<") || !strings.Contains(b.String(), ">NAT b outside<") {
		t.Fatalf("got %+v, want the two addresses and all four names in full", boxes)
	}
	for i, x := range boxes {
		if x.left < 0 || x.right > narrow.width {
			t.Errorf("%q lies from %.0f to %.0f in a picture of %g", x.text, x.left, x.right, narrow.width)
		}
		for _, y := range boxes[:i] {
			if math.Abs(x.above-y.above) < narrow.font && x.left < y.right && y.left < x.right {
				t.Errorf("%q and %q overlap", x.text, y.text)
			}
		}
	}
}

func TestOneVantagePointReckonsTheOtherEnd(t *testing.T) {
	h := crossing()
	h.Vantages = h.Vantages[:1]
	h.Events = slices.DeleteFunc(h.Events, func(e captures.Event) bool { return e.Vantage == 1 })
	text := draw(t, h, LadderOptions{})
	for _, want := range []string{"╳", "~20.000 ms", "captured here", "reckoned"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

func TestManyAttemptsAreShortened(t *testing.T) {
	h := crossing()
	for i := range 200 {
		h.Events = append(h.Events, captures.Event{Packet: 100 + i, Flight: 10 + i, At: start.Add(time.Second + time.Duration(i)*time.Millisecond), Side: captures.SideA, Kind: captures.KindSyn, Seq: uint32(1000 + i)})
	}
	text := draw(t, h, LadderOptions{})
	if n := strings.Count(text, "\n"); n > 120 || !strings.Contains(text, "more segments are not drawn") {
		t.Errorf("got %d lines", n)
	}
}

func TestNamesAreShortenedToWhatTellsThemApart(t *testing.T) {
	for _, test := range []struct{ given, want []string }{
		{[]string{"lab/x.a.pcap", "lab/x.na.pcap"}, []string{"a", "na"}},
		{[]string{"tcp__syn.pcap", "tcp__syn-synack.pcap"}, []string{"syn", "syn-synack"}},
		{[]string{"client a", "NAT a"}, []string{"client a", "NAT a"}},
		{[]string{"same", "same"}, []string{"same", "same"}},
		{[]string{"", ".pcap"}, []string{"", ".pcap"}},
	} {
		var list []captures.Vantage
		for _, n := range test.given {
			list = append(list, captures.Vantage{Name: n})
		}
		if got := distinct(list); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.given, got, test.want)
		}
	}
}

func TestMermaidSaysWhatTheLadderDraws(t *testing.T) {
	h := crossing()
	h.Vantages[0].Name = "a; #1\n.pcap"
	var b bytes.Buffer
	if err := Mermaid(&b, h); err != nil {
		t.Fatal(err)
	}
	const want = `sequenceDiagram
    participant L0 as A 10.1.0.2:40001 a#59; #35;1#92;n
    participant L1 as B 10.2.0.2:50001 b
    par the SYNs cross
        L0->>L1: SYN seq=0 (0.000 ms to 20.000 ms)
    and
        L1->>L0: SYN seq=0 (3.000 ms to 23.000 ms)
    end
    L1->>L0: SYN-ACK seq=0 ack=1 (20.000 ms to 40.000 ms)
    L0->>L1: SYN-ACK seq=0 ack=1 (23.000 ms to 43.000 ms)
    L0->>L1: ACK seq=1 ack=1 (40.000 ms to 60.000 ms)
    Note over L0,L1: simultaneous-open, established
    Note over L0,L1: either SYN could have left 17.000 ms later and still crossed
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestALeakIsDashedAndNamed(t *testing.T) {
	h := crossing()
	for i := range h.Events {
		h.Events[i].Leaked = h.Events[i].Kind == captures.KindAck
	}
	h.Leaks = []captures.Leak{{Side: captures.SideA, Kind: captures.KindAck, From: h.A, Instead: h.B, Vantage: 1, Count: 3}}
	var picture, diagram bytes.Buffer
	if err := errors.Join(SVG(&picture, h), Mermaid(&diagram, h)); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"leak: ": draw(t, h, LadderOptions{}), `class="a leak"`: picture.String(), "L0-->>L1: ACK seq=1 ack=1 leaks": diagram.String()} {
		if !strings.Contains(got, name) {
			t.Errorf("%q is missing in\n%s", name, got)
		}
	}
}

func TestReasonsAndLimitsStandInTextAndOnPages(t *testing.T) {
	h := crossing()
	h.Reset = &captures.Origin{By: "path", Confidence: "likely", Score: 4, Between: &[2]int{0, 1}, Reasons: []captures.Reason{{Text: "it is nearer", Weight: 4, File: 1, Packet: 2}}}
	h.Limits = []string{"nobody knows"}
	var b bytes.Buffer
	if err := HTML(&b, "t", HandshakeSection(h)); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{draw(t, h, LadderOptions{}), strings.ReplaceAll(b.String(), "&#43;", "+")} {
		for _, want := range []string{"by a box on the path (likely, +4), between a and b", "+4: it is nearer", "nobody knows"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is missing in\n%s", want, text)
			}
		}
	}
}

func TestAPageOfManyOpeningsIsBounded(t *testing.T) {
	a := captures.Analysis{}
	for range maxSections + 20 {
		a.Handshakes = append(a.Handshakes, crossing())
	}
	if list := AnalysisSections(a); len(list) != maxSections+2 || !strings.Contains(list[len(list)-1].Text[0], "20 more") {
		t.Errorf("got %d sections, %v", len(list), list[len(list)-1].Text)
	}
}

func TestWhereNoTimesAreKnownNoneAreDrawn(t *testing.T) {
	h := crossing()
	h.CrossingMargin = nil
	for i := range h.Events {
		h.Events[i].At = time.Time{}
	}
	var picture, diagram, page strings.Builder
	if err := errors.Join(SVG(&picture, h), Mermaid(&diagram, h), HTML(&page, "t", HandshakeSection(h))); err != nil {
		t.Fatal(err)
	}
	text := draw(t, h, LadderOptions{})
	for name, got := range map[string]string{"ladder": text, "SVG": picture.String(), "Mermaid": diagram.String(), "HTML": page.String()} {
		if strings.Contains(got, " ms") {
			t.Errorf("the %s has times:\n%s", name, got)
		}
	}
	if n := strings.Count(text, "SYN"); n < 4 || !strings.Contains(text, "no times") {
		t.Errorf("got %d SYNs in\n%s", n, text)
	}
}

func TestManyPlacesAreDrawn(t *testing.T) {
	for _, places := range []int{3, 27, 40, 300} {
		h := crossing()
		for len(h.Vantages) < places {
			h.Vantages = append(h.Vantages, captures.Vantage{File: len(h.Vantages), Name: fmt.Sprintf("place-%d.pcap", len(h.Vantages))})
		}
		for line := range strings.Lines(draw(t, h, LadderOptions{})) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
				t.Errorf("%d places: got %d columns in %q", places, n, line)
			}
		}
		if err := errors.Join(SVG(io.Discard, h), Mermaid(io.Discard, h), HTML(io.Discard, "t", HandshakeSection(h))); err != nil {
			t.Errorf("%d places: %v", places, err)
		}
	}
}

// What comes from a box beside a host was seen there alone, and the times stand on
// the outer side of its lane.
func TestWhatOnlyOnePlaceSawIsNamedBesideTheTimes(t *testing.T) {
	h := crossing()
	h.Events = append(h.Events, captures.Event{Packet: 9, Flight: 9, At: start.Add(90 * time.Millisecond), Side: captures.SideB, Kind: captures.KindRstAck, From: h.B, To: h.A},
		captures.Event{File: 1, Vantage: 1, Packet: 10, Flight: 10, At: start.Add(99 * time.Millisecond), Side: captures.SideA, Kind: captures.KindSyn, Seq: 107, From: h.A, To: h.B})
	text := draw(t, h, LadderOptions{})
	for _, want := range []string{"90.000 ms │◀RST-ACK", "SYN (other ISN)▶│ 99.000 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
