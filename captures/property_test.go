package captures

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// permutations of the four places.
func permutations(list []int) [][]int {
	if len(list) < 2 {
		return [][]int{slices.Clone(list)}
	}
	var out [][]int
	for i := range list {
		rest := slices.Delete(slices.Clone(list), i, i+1)
		for _, p := range permutations(rest) {
			out = append(out, append([]int{list[i]}, p...))
		}
	}
	return out
}

func TestTheVerdictDoesNotDependOnTheOrderOfFiles(t *testing.T) {
	for want, script := range scenarios {
		w := newWorld().play(t, script...)
		for _, order := range permutations([]int{0, 1, 2, 3}) {
			used := slices.DeleteFunc(order, func(p int) bool { return len(w.perPlace[p]) == 0 })
			h := only(t, w.analyse(t, used...))
			if h.Verdict != want || len(h.Vantages) != len(used) {
				t.Errorf("files %v: got %v at %d places, want %v at %d", order, h.Verdict, len(h.Vantages), want, len(used))
			}
		}
	}
}

func TestTheVerdictDoesNotDependOnHowACaptureIsSplit(t *testing.T) {
	for want, script := range scenarios {
		w := newWorld().play(t, script...)
		whole := w.perPlace[1]
		for cut := 1; cut < len(whole); cut++ {
			for _, reversed := range []bool{false, true} {
				parts := []Source{w.file(t, "one", whole[:cut]), w.file(t, "two", whole[cut:])}
				if reversed {
					slices.Reverse(parts)
				}
				a, err := Analyze(parts, Filter{})
				if err != nil {
					t.Fatal(err)
				}
				if !linked(whole[:cut], whole[cut:]) {
					continue
				}
				if len(a.Handshakes) != 1 || a.Handshakes[0].Verdict != want {
					t.Errorf("%v cut after packet %d, reversed %v: got %v", want, cut, reversed, a.Summary)
				}
			}
		}
	}
}

// linked reports whether anything in the two parts of a capture tells that they
// belong together: a number of one that the other repeats.
func linked(one, two []Packet) bool {
	decoder := NewDecoder()
	numbers := map[uint32]bool{}
	for _, p := range one {
		if s, err := decoder.Decode(LinkRaw, p.Data); err == nil && s.Kind.isSyn() {
			numbers[s.Seq], numbers[s.Seq+1] = true, true
		}
	}
	return slices.ContainsFunc(two, func(p Packet) bool {
		s, err := decoder.Decode(LinkRaw, p.Data)
		return err == nil && (numbers[s.Seq] || numbers[s.Ack])
	})
}

func TestPacketsSeenTwiceDoNotChangeTheVerdict(t *testing.T) {
	for want, script := range scenarios {
		w := newWorld().play(t, script...)
		for i, list := range w.perPlace {
			var twice []Packet
			for _, p := range list {
				again := p
				again.Time = p.Time.Add(3000)
				twice = append(twice, p, again)
			}
			w.perPlace[i] = twice
		}
		for _, places := range [][]int{{1}, {0, 1, 2}} {
			once := only(t, newWorld().play(t, script...).analyse(t, places...))
			h := only(t, w.analyse(t, places...))
			if h.Verdict != want || len(h.Events) != len(once.Events) {
				t.Errorf("%v at %v: got %v and %d events, want %d", want, places, h.Verdict, len(h.Events), len(once.Events))
			}
		}
	}
}

func TestEachPlaceAloneSaysWhatItCanKnow(t *testing.T) {
	want := map[Verdict][4]Verdict{
		VerdictSimultaneousOpen: {VerdictSimultaneousOpen, VerdictSimultaneousOpen, VerdictSimultaneousOpen, VerdictSimultaneousOpen},
		VerdictLateCrossing:     {VerdictLateCrossing, VerdictLateCrossing, VerdictLateCrossing, VerdictThreeWay}, // A's SYN never came to B
		VerdictRefused:          {VerdictRefused, VerdictRefused, VerdictRefused, VerdictRefused},
		VerdictICMPRejected:     {VerdictICMPRejected, VerdictICMPRejected, VerdictICMPRejected, VerdictUnanswered},
	}
	for verdict, places := range want {
		w := newWorld().play(t, scenarios[verdict]...)
		for p, want := range places {
			h := only(t, w.analyse(t, p))
			if h.Verdict != want {
				t.Errorf("%v at %s: got %v, want %v", verdict, placeNames[p], h.Verdict, want)
			}
			if len(h.Limits) == 0 {
				t.Errorf("%v at %s: got no word on what this place cannot know", verdict, placeNames[p])
			}
		}
	}
}

func TestEveryClaimHasAPacket(t *testing.T) {
	for want, script := range scenarios {
		a := newWorld().play(t, script...).analyse(t, 0, 1, 2)
		h := only(t, a)
		claims := slices.Clone(h.Evidence)
		for _, o := range []*Origin{h.Reset, icmpOrigin(h)} {
			if o != nil {
				for _, r := range o.Reasons {
					claims = append(claims, Evidence{r.Text, r.File, r.Packet})
				}
			}
		}
		for _, c := range claims {
			if !slices.ContainsFunc(h.Events, func(e Event) bool { return e.File == c.File && e.Packet == c.Packet }) {
				t.Errorf("%v: %q names packet %d of file %d, which is none of the exchange", want, c.Text, c.Packet, c.File)
			}
		}
	}
}

func icmpOrigin(h Handshake) *Origin {
	if h.ICMP == nil {
		return nil
	}
	return &h.ICMP.Origin
}

// byDirection takes apart what two interfaces of a tap show, or two members of
// a link: A's segments, and what comes to A.
func byDirection(t *testing.T, w *world, place int) (parts [2][]Packet) {
	t.Helper()
	decoder := NewDecoder()
	for _, p := range w.perPlace[place] {
		s, err := decoder.Decode(LinkRaw, p.Data)
		if err != nil {
			t.Fatal(err)
		}
		from := s.From
		if s.Kind.IsICMP() { // it quotes what A sent
			from = s.To
		}
		direction := 0
		if from == w.addresses[SideB][place] {
			direction = 1
		}
		parts[direction] = append(parts[direction], p)
	}
	return parts
}

// interfaces is one file of several interfaces, in the order of time.
func interfaces(t *testing.T, parts ...[]Packet) Source {
	t.Helper()
	var file bytes.Buffer
	var list []Interface
	var packets []Packet
	for i, part := range parts {
		list = append(list, Interface{Name: string(rune('a' + i)), LinkType: LinkRaw})
		for _, p := range part {
			p.Interface = i
			packets = append(packets, p)
		}
	}
	slices.SortStableFunc(packets, func(x, y Packet) int { return x.Time.Compare(y.Time) })
	out, err := NewWriter(&file, list...)
	for _, p := range packets {
		err = errors.Join(err, out.WritePacket(p))
	}
	if err != nil {
		t.Fatal(err)
	}
	return Source{Name: "tap", Reader: &file}
}

func TestTheVerdictDoesNotDependOnWhetherATapHasOneInterfaceForEachDirection(t *testing.T) {
	for want, script := range scenarios {
		w := newWorld().play(t, script...)
		for place := range 4 {
			parts := byDirection(t, w, place)
			if want == VerdictICMPRejected || want == VerdictSplitHandshake || place == 3 && want != VerdictSimultaneousOpen {
				continue // it takes one place to tell whose the leaked RST is; and what B does not see
			}
			taps := map[string][]Source{"one file": {interfaces(t, parts[:]...)}}
			if len(parts[1]) > 0 {
				taps["two files"] = []Source{w.file(t, "out", parts[0]), w.file(t, "in", parts[1])}
			}
			for name, sources := range taps {
				a, err := Analyze(sources, Filter{})
				if err != nil {
					t.Fatal(err)
				}
				if len(a.Handshakes) != 1 || a.Handshakes[0].Verdict != want {
					t.Errorf("%v at %s in %s: got %v", want, placeNames[place], name, a.Summary)
				}
			}
		}
	}
}

func TestAnICMPErrorOnTheOtherInterfaceIsAnAnswer(t *testing.T) {
	w := newWorld().play(t, scenarios[VerdictICMPRejected][:2]...)
	parts := byDirection(t, w, 1)
	a, err := Analyze([]Source{interfaces(t, parts[:]...)}, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if h := only(t, a); h.Verdict != VerdictICMPRejected {
		t.Errorf("got %v", h.Verdict)
	}
}

func TestSectionsOfOneFileAreOnePlace(t *testing.T) {
	w := newWorld().play(t, scenarios[VerdictSimultaneousOpen]...)
	whole := w.perPlace[1]
	for cut := 1; cut < 4; cut++ { // behind it are SYN-ACKs
		one, two := w.file(t, "eth0", whole[:cut]), w.file(t, "eth0", whole[cut:])
		a, err := Analyze([]Source{{Name: "sections", Reader: io.MultiReader(one.Reader, two.Reader)}}, Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Handshakes) != 1 || a.Handshakes[0].Verdict != VerdictSimultaneousOpen || len(a.Handshakes[0].Vantages) != 1 {
			t.Errorf("cut after packet %d: got %v", cut, a.Summary)
		}
	}
}
