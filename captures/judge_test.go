package captures

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSequenceNumbersDecideTheVerdict(t *testing.T) {
	established, failed, unknown := new(true), new(false), (*bool)(nil)
	tests := []struct {
		name   string
		want   Verdict
		stands *bool
		script []string
	}{
		{"simultaneous open", VerdictSimultaneousOpen, established,
			[]string{"A syn 100", "B syn 900", "A syn-ack 100 901", "B syn-ack 900 101", "A ack 101 901", "B ack 901 101"}},
		{"simultaneous open seen in the middle, answers first", VerdictSimultaneousOpen, established,
			[]string{"B syn 900", "A syn 100", "B syn-ack 900 101", "A syn-ack 100 901", "B data 901 101", "A data 101 906"}},
		{"simultaneous open whose end is missing", VerdictSimultaneousOpen, unknown,
			[]string{"A syn 100", "B syn 900", "A syn-ack 100 901", "B syn-ack 900 101"}},
		{"simultaneous open that is reset", VerdictSimultaneousOpen, failed,
			[]string{"A syn 100", "B syn 900", "A syn-ack 100 901", "B syn-ack 900 101", "A rst 101"}},
		{"simultaneous open after refused attempts", VerdictSimultaneousOpen, established,
			[]string{"A syn 100", "B rst-ack 0 101", "A syn 200", "B rst-ack 0 201", "B syn 800", "A rst-ack 0 801", "A syn 300", "B syn 900",
				"A syn-ack 300 901", "B syn-ack 900 301", "A ack 301 901", "B data 901 301"}},
		{"simultaneous open with retransmissions", VerdictSimultaneousOpen, established,
			[]string{"A syn 100", "A syn 100 +1s", "B syn 900", "A syn-ack 100 901", "A syn-ack 100 901 +1s", "B syn-ack 900 101", "A ack 101 901", "B ack 901 101"}},
		{"sequence numbers that wrap", VerdictSimultaneousOpen, established,
			[]string{"A syn 4294967295", "B syn 4294967295", "A syn-ack 4294967295 0", "B syn-ack 4294967295 0", "A ack 0 0", "B data 0 0"}},
		{"late crossing", VerdictLateCrossing, established,
			[]string{"A syn 100", "B syn 900", "A syn-ack 100 901", "B ack 901 101", "A data 101 901"}},
		{"late crossing, B early", VerdictLateCrossing, established,
			[]string{"A syn 100", "B syn 900", "B syn-ack 900 101", "A ack 101 901", "B ack 901 101"}},
		{"late crossing from behind the late end's NAT", VerdictThreeWay, established,
			[]string{"B syn 900", "A syn-ack 100 901", "B ack 901 101", "A data 101 901"}},
		{"split handshake", VerdictSplitHandshake, established,
			[]string{"A syn 100", "B ack 0 101", "B syn 900", "A syn-ack 100 901", "B ack 901 101", "A data 101 901"}},
		{"three-way", VerdictThreeWay, established, []string{"A syn 100", "B syn-ack 900 101", "A ack 101 901"}},
		{"three-way with data in the SYN", VerdictThreeWay, established, []string{"A syn 100 len=20", "B syn-ack 900 121", "A ack 121 901"}},
		{"three-way whose ACK got lost", VerdictThreeWay, unknown,
			[]string{"A syn 100", "B syn-ack 900 101", "A ack 101 901", "B syn-ack 900 101 +1s"}},
		{"a RST that did not keep it from standing", VerdictThreeWay, established,
			[]string{"A syn 100", "B rst-ack 0 101", "B syn-ack 900 101", "A ack 101 901"}},
		{"a RST after the ACK", VerdictThreeWay, failed, []string{"A syn 100", "B syn-ack 900 101", "A ack 101 901", "B rst 901"}},
		{"both established, and no SYN-ACK captured", VerdictIncomplete, established,
			[]string{"A syn 100", "B syn 900", "A ack 101 901", "B ack 901 101"}},
		{"three-way after a refused attempt", VerdictThreeWay, established,
			[]string{"A syn 100", "B rst-ack 0 101", "A syn 200", "B syn-ack 900 201", "A ack 201 901", "B data 901 201"}},
		{"established and reset later", VerdictThreeWay, established,
			[]string{"A syn 100", "B syn-ack 900 101", "A ack 101 901", "B data 901 101", "A rst 101"}},
		{"refused", VerdictRefused, failed, []string{"A syn 100", "B rst-ack 0 101"}},
		{"refused every time", VerdictRefused, failed, []string{"A syn 100", "B rst-ack 0 101", "A syn 200", "B rst-ack 0 201"}},
		{"given up by the opener", VerdictUnanswered, failed, []string{"A syn 100", "A rst 101"}},
		{"a RST far outside of the window", VerdictIncomplete, unknown, []string{"A syn 100", "B syn-ack 900 101", "A rst 900000"}},
		{"refused by the opener, around 2^32", VerdictRefused, failed,
			[]string{"A syn 4294967290", "B syn-ack 900 4294967291", "A rst 4294967291"}},
		{"refused by the opener", VerdictRefused, failed, []string{"A syn 100", "B syn-ack 900 101", "A rst 101"}},
		{"both SYNs refused", VerdictRefused, failed, []string{"A syn 100", "B syn 900", "A rst-ack 0 901", "B rst-ack 0 101"}},
		{"refused once, then not answered", VerdictUnanswered, failed, []string{"A syn 100", "B rst 0", "A syn 200", "A syn 200 +1s"}},
		{"ICMP", VerdictICMPRejected, failed, []string{"A syn 100", "A icmp 100"}},
		{"ICMP closes the socket, which refuses the other SYN", VerdictICMPRejected, failed,
			[]string{"A syn 100", "A icmp 100", "B syn 900", "A rst-ack 101 901"}},
		{"ICMP that did no harm", VerdictThreeWay, established,
			[]string{"A syn 100", "A icmp 100", "B syn-ack 900 101", "A ack 101 901", "B data 901 101"}},
		{"ICMP about another SYN", VerdictUnanswered, failed, []string{"A syn 100", "A icmp 77"}},
		{"ICMP that a SYN survived, to be answered with another number", VerdictIncomplete, unknown,
			[]string{"A syn 100 ttl=2", "A icmp 100", "A syn 100 +1s", "A syn-ack 100 901", "B syn-ack 5000 7777", "A rst-ack 101 901"}},
		{"ICMP that a SYN survived, and no other answer", VerdictICMPRejected, failed,
			[]string{"A syn 100 ttl=2", "A icmp 100", "A syn 100 +1s"}},
		{"unanswered", VerdictUnanswered, failed, []string{"A syn 100", "A syn 100 +1s", "A syn 100 +2s"}},
		{"both unanswered", VerdictUnanswered, failed, []string{"A syn 100", "B syn 900", "A syn 100 +1s"}},
		{"one direction", VerdictOneSided, unknown, []string{"A syn 100", "A ack 101 901", "A data 101 901"}},
		{"the answering direction", VerdictOneSided, unknown, []string{"B syn-ack 900 101", "B data 901 101"}},
		{"no ACK", VerdictIncomplete, unknown, []string{"A syn 100", "B syn-ack 900 101"}},
		{"a SYN-ACK that acknowledges something else", VerdictIncomplete, unknown, []string{"A syn 100", "B syn-ack 900 777"}},
		{"a RST that acknowledges something else", VerdictThreeWay, established,
			[]string{"A syn 100", "B rst-ack 0 100", "B syn-ack 900 101", "A ack 101 901"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			list := play(t, test.script...)
			if len(list) != 1 {
				t.Fatalf("got %d handshakes, want 1", len(list))
			}
			h := list[0]
			if h.Verdict != test.want {
				t.Errorf("got verdict %v, want %v", h.Verdict, test.want)
			}
			if (h.Established == nil) != (test.stands == nil) || h.Established != nil && *h.Established != *test.stands {
				t.Errorf("got established %v, want %v", show(h.Established), show(test.stands))
			}
			if len(h.Evidence) == 0 {
				t.Error("got no evidence")
			}
			for _, e := range h.Evidence {
				if e.Packet < 1 || e.Packet > len(test.script) {
					t.Errorf("evidence %q names packet %d of %d", e.Text, e.Packet, len(test.script))
				}
			}
		})
	}
}

func show(b *bool) any {
	if b == nil {
		return "unknown"
	}
	return *b
}

func TestAttemptsOnOnePairOfPortsAreOneHandshake(t *testing.T) {
	h := play(t, "A syn 100", "B rst-ack 0 101", "A syn 200", "A syn 200 +1s", "B syn-ack 900 201", "A ack 201 901")[0]
	if h.AttemptsA != 2 || h.SynsA != 3 || h.AttemptsB != 0 {
		t.Errorf("got %d attempts, %d SYNs of A and %d attempts of B, want 2, 3, 0", h.AttemptsA, h.SynsA, h.AttemptsB)
	}
	if h.ISNA == nil || *h.ISNA != 200 {
		t.Errorf("got ISN %v, want 200", h.ISNA)
	}
}

func TestAConnectionAfterAConnectionIsAnotherHandshake(t *testing.T) {
	first := []string{"A syn 100", "B syn-ack 900 101", "A ack 101 901", "B data 901 101", "A fin 101 906"}
	list := play(t, append(first, "A syn 5000", "B rst-ack 0 5001")...)
	var got []Verdict
	for _, h := range list {
		got = append(got, h.Verdict)
	}
	if want := []Verdict{VerdictThreeWay, VerdictRefused}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMarginIsTheLesserOverlap(t *testing.T) {
	h := play(t, "A syn 100 +0s", "B syn 900 +7ms", "A syn-ack 100 901 +1ms", "B syn-ack 900 101 +40ms", "A ack 101 901")[0]
	if want := 8 * time.Millisecond; h.CrossingMargin == nil || *h.CrossingMargin != want {
		t.Errorf("got margin %v, want %v", h.CrossingMargin, want)
	}
}

func TestMarginOfALateCrossingIsByHowMuchItMissed(t *testing.T) {
	// At A: a round trip of 40 ms, B's SYN 100 ms after A's. A's SYN was at B
	// after 20 ms, and B's left after 80 ms.
	h := play(t, "A syn 100 +0s", "B syn 900 +100ms", "A syn-ack 100 901 +0s", "B ack 901 101 +40ms")[0]
	if want := -60 * time.Millisecond; h.CrossingMargin == nil || *h.CrossingMargin != want {
		t.Errorf("got margin %v, want %v", h.CrossingMargin, want)
	}
}

func TestSentencesDoNotContradictEachOther(t *testing.T) {
	for _, test := range []struct {
		not    string
		script []string
	}{
		{"crossed", []string{"A syn 100", "B syn-ack 900 101", "A rst 101"}}, // B opened nothing
		{"whether it was established", []string{"A syn 100", "B syn 900", "A ack 101 901", "B ack 901 101"}},
		{"how the opening ended", []string{"A syn 100", "B syn 900", "A ack 101 901", "B ack 901 101"}},
		{"answered a's syn.", []string{"A syn 100", "B syn-ack 900 101", "B rst 901"}},
		{"nothing came back", []string{"A syn 100", "A rst 101"}},
		{"-5", []string{"A syn 100", "A syn 100 +-5s"}},
		{"-5", []string{"A syn 100", "A syn 200 +-5s"}},
	} {
		h := play(t, test.script...)[0]
		sentences := slices.Clone(h.Limits)
		for _, e := range h.Evidence {
			sentences = append(sentences, e.Text)
		}
		for _, s := range sentences {
			if strings.Contains(strings.ToLower(s), test.not) {
				t.Errorf("%q: %v, established %v: got %q", test.script, h.Verdict, show(h.Established), s)
			}
		}
	}
}

func TestASynThatSurvivesAnICMPErrorIsSaidToDoSo(t *testing.T) {
	h := play(t, "A syn 100 ttl=2", "A icmp 100", "A syn 100 +1s")[0]
	if !slices.ContainsFunc(h.Evidence, func(e Evidence) bool { return e.Packet == 3 && strings.Contains(e.Text, "did not end its attempt") }) {
		t.Errorf("got %+v", h.Evidence)
	}
}

func TestASocketThatConnectsToItselfOpensSimultaneously(t *testing.T) {
	var a Analyzer
	for i, line := range []string{"A syn 100", "A syn-ack 100 101", "A ack 101 101", "A data 101 101"} { // as Linux does
		_, data := frame(t, line, LinkRaw)
		copy(data[16:20], data[12:16])
		copy(data[22:24], data[20:22])
		a.Add(0, LinkRaw, Packet{Time: dawn.Add(time.Duration(i) * ms), Data: data, Length: len(data)})
	}
	list := a.Handshakes()
	if len(list) != 1 {
		t.Fatalf("got %d handshakes, want 1", len(list))
	}
	h := list[0]
	if h.Verdict != VerdictSimultaneousOpen || h.Established == nil || !*h.Established || h.A != h.B || h.CrossingMargin != nil || h.SynsA != 1 || h.SynsB != 1 {
		t.Errorf("got %v, established %v, %d and %d SYNs", h.Verdict, show(h.Established), h.SynsA, h.SynsB)
	}
	if !strings.Contains(h.Evidence[0].Text, "connected to itself") {
		t.Errorf("got the evidence %+v", h.Evidence)
	}
}

func TestASynAckBeforeTheSynIsCalledCrafted(t *testing.T) {
	crafted := func(h Handshake) (packets []int) {
		for _, e := range h.Evidence {
			if strings.Contains(e.Text, "crafted by a program") {
				packets = append(packets, e.Packet)
			}
		}
		return packets
	}
	for _, test := range []struct {
		name   string
		want   []int
		script []string
	}{
		{"crossed", nil, []string{"A syn 100", "B syn 900 ttl=50", "A syn-ack 100 901", "B syn-ack 900 101 ttl=50", "A ack 101 901"}},
		{"crafted on A", []int{2}, []string{"A syn 100", "A syn-ack 100 901", "B syn 900 ttl=50", "B syn-ack 900 101 ttl=50", "A ack 101 901"}},
		{"crafted on B, seen on A", nil, []string{"A syn 100", "B syn-ack 900 101 ttl=50", "B syn 900 ttl=50", "A syn-ack 100 901", "A ack 101 901"}},
	} {
		h := play(t, test.script...)[0]
		if got := crafted(h); h.Verdict != VerdictSimultaneousOpen || !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, crafted in packets %v, want %v", test.name, h.Verdict, got, test.want)
		}
	}
	script := slices.Clone(scenarios[VerdictSimultaneousOpen])
	script[0].reach = 3 // B's NAT drops A's SYN, and B answers it all the same
	h := only(t, newWorld().play(t, script...).analyse(t, 0, 3))
	if got := crafted(h); !slices.Equal(got, []int{2}) || h.CrossingMargin != nil {
		t.Errorf("where the SYN never came: got packets %v, want 2 of B's host; %+v", got, h.Evidence)
	}
}

func TestAStraySynAckIsNotTheAttempt(t *testing.T) {
	for _, script := range [][]string{
		{"A syn 100", "B syn-ack 900 777"},
		{"A syn 100", "B syn-ack 900 777", "A rst 777"}, // and A goes on waiting
		{"A syn 100", "B syn-ack 900 101", "B syn-ack 900 777"},
	} {
		h := play(t, script...)[0]
		if h.ISNA == nil || *h.ISNA != 100 || h.Verdict != VerdictIncomplete {
			t.Errorf("%q: got %v of the attempt %v, want incomplete of 100", script, h.Verdict, h.ISNA)
		}
	}
	h := play(t, "A syn 100", "B rst-ack 0 101", "B syn-ack 900 201", "A ack 201 901")[0] // A's second SYN was not captured
	if h.ISNA == nil || *h.ISNA != 200 {
		t.Errorf("got %v of the attempt %v, want 200", h.Verdict, h.ISNA)
	}
}

func TestTimesThatRunBackGiveNoMargin(t *testing.T) {
	for name, script := range map[string][]string{
		"set back after A's SYN":    {"A syn 100", "B syn 900", "A syn-ack 100 901 +-5s", "B syn-ack 900 101", "A ack 101 901", "B ack 901 101"},
		"set back after both SYNs":  {"A syn 100", "B syn 900", "B syn-ack 900 101 +-5s", "A syn-ack 100 901", "A ack 101 901", "B ack 901 101"},
		"an early SYN that is lost": {"A syn 100", "B syn 900 +5ms", "A syn-ack 100 901 +0s", "B ack 901 101 +40ms"}, // it would have come in time
	} {
		if h := play(t, script...)[0]; h.CrossingMargin != nil {
			t.Errorf("%s: got %v with the margin %v, want none", name, h.Verdict, *h.CrossingMargin)
		}
	}
}

func TestAResetWithAnotherHopCountIsNotThePeers(t *testing.T) {
	h := play(t, "A syn 100", "B syn 900 ttl=50", "B rst-ack 0 101 ttl=62")[0]
	if h.Reset == nil || h.Reset.By != "path" {
		t.Errorf("got reset %+v, want one by the path", h.Reset)
	}
	h = play(t, "A syn 100", "B syn 900 ttl=50", "B rst-ack 0 101 ttl=50")[0]
	if h.Reset == nil || h.Reset.By != "b" {
		t.Errorf("got reset %+v, want one by b", h.Reset)
	}
}

func TestFramesSeenTwiceInOneCaptureCountOnce(t *testing.T) {
	h := play(t, "A syn 100", "A syn 100 +5us ttl=63", "B syn-ack 900 101", "B syn-ack 900 101 +5us ttl=63", "A ack 101 901", "A ack 101 901 +5us ttl=63")[0]
	if h.SynsA != 1 || len(h.Events) != 3 {
		t.Errorf("got %d SYNs and %d events, want 1 and 3", h.SynsA, len(h.Events))
	}
}
