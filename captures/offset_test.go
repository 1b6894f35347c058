package captures

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"testing"
	"time"
)

func TestTheOffsetOfAClockLiesWithinItsBound(t *testing.T) {
	for _, truth := range []time.Duration{0, 3 * time.Millisecond, 90 * time.Millisecond, -5 * time.Second, 26 * time.Hour} {
		w := newWorld()
		w.clocks = [4]time.Duration{0, 0, truth, truth}
		w.play(t, scenarios[VerdictSimultaneousOpen]...)
		a := w.analyse(t, 0, 1, 2, 3)
		h := only(t, a)
		for file, want := range w.clocks {
			c := a.Clocks[file]
			if c.Offset == nil || (*c.Offset-want).Abs() > *c.Bound || !c.Consistent || c.Packets != 6 {
				t.Errorf("clock wrong by %v: got %+v for %s", truth, c, placeNames[file])
				continue
			}
			if *c.Bound > hop+ms {
				t.Errorf("clock wrong by %v: got bound %v, want no more than the delay", truth, *c.Bound)
			}
			if left := want + c.Applied; left.Abs() > hop+ms {
				t.Errorf("clock wrong by %v: %v are left after %v were added", truth, left, c.Applied)
			}
		}
		if h.Verdict != VerdictSimultaneousOpen || !slices.IsSortedFunc(h.Events, func(x, y Event) int { return x.At.Compare(y.At) }) {
			t.Errorf("clock wrong by %v: got %v", truth, h.Verdict)
		}
		var path []int
		for _, v := range h.Vantages {
			path = append(path, v.File)
		}
		if !slices.Equal(path, []int{0, 1, 2, 3}) {
			t.Errorf("clock wrong by %v: got path %v", truth, path)
		}
	}
}

func TestAClockSeenInOneDirectionHasOneBound(t *testing.T) {
	w := newWorld()
	w.clocks[3] = -time.Hour
	w.play(t, scenarios[VerdictICMPRejected]...)
	c := w.analyse(t, 2, 3).Clocks[1]
	if c.Offset != nil || c.Bound != nil || (c.AtLeast == nil) == (c.AtMost == nil) {
		t.Errorf("got %+v, want one bound", c)
	}
}

func TestAClockThatWasSetFitsNoOffset(t *testing.T) {
	w := newWorld().play(t, scenarios[VerdictSimultaneousOpen]...)
	w.clocks[3] = time.Minute
	late := slices.Clone(scenarios[VerdictSimultaneousOpen])
	for i := range late {
		late[i].at += 10 * time.Minute
		late[i].seq += 70000
		if late[i].ack > 0 {
			late[i].ack += 70000
		}
	}
	w.play(t, late...)
	a := w.analyse(t, 0, 3)
	if a.Clocks[1].Consistent || a.Clocks[1].Offset != nil {
		t.Errorf("got %+v", a.Clocks[1])
	}
	if len(a.Handshakes) != 2 || a.Summary[VerdictSimultaneousOpen] != 2 {
		t.Errorf("got %v", a.Summary)
	}
}

func TestARewrittenSequenceNumberIsOneExchange(t *testing.T) {
	for want, script := range scenarios {
		w := newWorld()
		w.isnShift = 0x7fff0000
		w.play(t, script...)
		a := w.analyse(t, 0, 1, 2)
		if len(a.Handshakes) != 1 || a.Handshakes[0].Verdict != want || len(a.Handshakes[0].Vantages) != 3 {
			t.Errorf("got %v, want one %v", a.Summary, want)
			continue
		}
		h := a.Handshakes[0]
		if len(h.NAT) == 0 || !slices.Equal(h.NAT[0].Rewrites, []Rewrite{RewriteAddress, RewriteISN}) {
			t.Errorf("%v: got %+v", want, h.NAT)
		}
	}
}

func TestClampingAndStrippingAreFoundBetweenTheRightPlaces(t *testing.T) {
	w := newWorld()
	w.clampTo, w.stripsTS = 1360, true
	h := only(t, w.play(t, scenarios[VerdictSimultaneousOpen]...).analyse(t, 0, 1, 2, 3))
	found := map[Rewrite][][2]int{}
	for _, n := range h.NAT {
		for _, r := range n.Rewrites {
			found[r] = append(found[r], n.Between)
		}
	}
	if want := [][2]int{{0, 1}, {1, 0}}; !slices.Equal(found[RewriteMSS], want) {
		t.Errorf("got clamping between %v, want %v", found[RewriteMSS], want)
	}
	if want := [][2]int{{2, 3}, {3, 2}}; !slices.Equal(found[RewriteTimestamps], want) {
		t.Errorf("got stripping between %v, want %v", found[RewriteTimestamps], want)
	}
	if len(found[RewriteOptions]) > 0 {
		t.Errorf("got other options between %v: nothing but the timestamp is missing there", found[RewriteOptions])
	}
	if h.Verdict != VerdictSimultaneousOpen {
		t.Errorf("got %v", h.Verdict)
	}
}

func TestTimesThatNoClockShowsAreNotCompared(t *testing.T) {
	for _, wrong := range []time.Duration{-100 * 365 * 24 * time.Hour, 250 * 365 * 24 * time.Hour, -250 * 365 * 24 * time.Hour} {
		w := newWorld()
		w.clocks[3] = wrong
		a := w.play(t, scenarios[VerdictSimultaneousOpen]...).analyse(t, 0, 3)
		c := a.Clocks[1]
		if c.AtLeast != nil && (c.AtMost == nil || *c.AtLeast > *c.AtMost) {
			t.Errorf("clock wrong by %v: got between %v and %v", wrong, *c.AtLeast, c.AtMost)
		}
		if only(t, a).Verdict != VerdictSimultaneousOpen {
			t.Errorf("clock wrong by %v: got %v", wrong, a.Summary)
		}
	}
}

func TestAFileWithoutTimesHasNoClockAndNoMargin(t *testing.T) {
	w := newWorld().play(t, scenarios[VerdictSimultaneousOpen]...)
	for i := range w.perPlace[3] {
		w.perPlace[3][i].Time = time.Time{}
	}
	for _, places := range [][]int{{3}, {0, 3}} {
		var a Analyzer
		for file, place := range places {
			for _, p := range w.perPlace[place] {
				a.Add(file, LinkRaw, p)
			}
		}
		h := a.Handshakes()[0]
		if h.Verdict != VerdictSimultaneousOpen || h.CrossingMargin != nil {
			t.Errorf("places %v: got %v with the margin %v, want none", places, h.Verdict, h.CrossingMargin)
		}
		for _, e := range h.Events {
			if e.File == len(places)-1 && !e.At.IsZero() {
				t.Errorf("places %v: packet %d has got the time %v", places, e.Packet, e.At)
			}
			document := marshal(t, e)
			var back Event
			if err := json.Unmarshal(document, &back); err != nil || back != e || bytes.Contains(document, []byte(`"at":null`)) != e.At.IsZero() {
				t.Errorf("got %s (%v) for %+v", document, err, e)
			}
		}
	}
}

func TestABoxThatAddsAnOptionDoesNotRemoveIt(t *testing.T) {
	crossed := sighting{Segment: Segment{Kind: KindSyn, Options: Options{HasWindowScale: true, WindowScale: 7, Layout: 3}}}
	var added, changed translation
	added.compare(sighting{Segment: Segment{Kind: KindSyn}}, crossed)
	other := crossed
	other.Options.WindowScale = 2
	changed.compare(crossed, other)
	for text, list := range map[string][]detail{"adds the window scale option": added.details, "changes the window scale from 7 to 2": changed.details} {
		if len(list) != 1 || list[0].text != text {
			t.Errorf("got %+v, want %q", list, text)
		}
	}
}

func TestACraftedSynThatDiesOnItsWayIsNotTheOneThatArrives(t *testing.T) {
	for _, bare := range []bool{true, false} {
		w := newWorld()
		w.noStamps = bare // of the SYN that dies: the packet that a program wrote
		w.play(t, sent{at: 0, side: SideA, kind: KindSyn, seq: 100, ttl: 2, reach: 2})
		w.noStamps = false
		late := slices.Clone(scenarios[VerdictSimultaneousOpen])
		for i := range late {
			late[i].at += 300 * ms
		}
		h := only(t, w.play(t, late...).analyse(t, 0, 2, 3))
		for _, n := range h.NAT {
			if slices.Contains(n.Rewrites, RewriteTTL) {
				t.Errorf("without a timestamp %v: got %v of %v between %v", bare, n, n.Side, n.Between)
			}
		}
		if h.Verdict != VerdictSimultaneousOpen || h.SynsA != 2 {
			t.Errorf("without a timestamp %v: got %v with %d SYNs", bare, h.Verdict, h.SynsA)
		}
	}
}

func TestANATThatSetsTheTTLDoesNotTurnThePath(t *testing.T) {
	w := newWorld()
	w.setsTTL = 200
	a := w.play(t, scenarios[VerdictSimultaneousOpen]...).analyse(t, 1, 0, 3)
	h := only(t, a)
	var path []int
	for _, v := range h.Vantages {
		path = append(path, v.File)
	}
	if !slices.Equal(path, []int{1, 0, 2}) {
		t.Errorf("got path %v, want 1, 0, 2", path)
	}
	if !slices.ContainsFunc(h.NAT, func(n NAT) bool {
		return n.Side == SideA && n.Between == [2]int{0, 1} && slices.Contains(n.Rewrites, RewriteTTL)
	}) {
		t.Errorf("got %+v, want a raised TTL at A's NAT", h.NAT)
	}
}

func TestACaptureThatBeganLateDoesNotShiftTheClock(t *testing.T) {
	w := newWorld()
	w.noStamps = true
	again := slices.Insert(slices.Clone(scenarios[VerdictThreeWay]), 0, sent{at: -1000 * ms, side: SideA, kind: KindSyn, seq: 100})
	w.play(t, again...)
	w.perPlace[0] = w.perPlace[0][1:] // the first SYN was seen at B's end only
	a := w.analyse(t, 0, 3)
	c := a.Clocks[1]
	if !c.Consistent || c.Offset == nil || c.Offset.Abs() > *c.Bound {
		t.Errorf("got %+v of a clock that is right", c)
	}
	if h := only(t, a); h.Verdict != VerdictThreeWay || h.SynsA != 2 {
		t.Errorf("got %v with %d SYNs", h.Verdict, h.SynsA)
	}
}

func TestTheOrderOfTwoPlacesIsNotTakenFromTheirClocks(t *testing.T) {
	for _, truth := range []time.Duration{0, 5 * time.Second, -5 * time.Second} {
		w := newWorld()
		w.clocks[2] = truth
		c := w.play(t, scenarios[VerdictUnanswered]...).analyse(t, 1, 2).Clocks[1] // one direction, and no hop between them
		if c.Packets != 3 || c.Applied != 0 || c.AtLeast != nil && *c.AtLeast > truth || c.AtMost != nil && *c.AtMost < truth {
			t.Errorf("clock wrong by %v: got between %v and %v, from %d packets", truth, c.AtLeast, c.AtMost, c.Packets)
		}
	}
}

// inMilliseconds rewrites a file of w.file whose times count milliseconds, as
// files that were converted from other formats do.
func inMilliseconds(t *testing.T, w *world, place int) Source {
	t.Helper()
	packets := slices.Clone(w.perPlace[place])
	for i := range packets {
		packets[i].Time = time.Unix(0, packets[i].Time.UnixMilli())
	}
	data, err := io.ReadAll(w.file(t, "coarse", packets).Reader)
	if err != nil {
		t.Fatal(err)
	}
	nine, three := []byte{optionResolution, 0, 1, 0, 9, 0, 0, 0}, []byte{optionResolution, 0, 1, 0, 3, 0, 0, 0}
	if bytes.Count(data, nine) != 1 {
		t.Fatal("the resolution is not where it was")
	}
	return Source{Name: "coarse", Reader: bytes.NewReader(bytes.Replace(data, nine, three, 1))}
}

func TestABoundHoldsForTimesInMilliseconds(t *testing.T) {
	for late := range 10 {
		w := newWorld()
		w.from = dawn.Add(time.Duration(late) * 100 * time.Microsecond)
		w.play(t, scenarios[VerdictSimultaneousOpen]...)
		a, err := Analyze([]Source{w.file(t, "fine", w.perPlace[0]), inMilliseconds(t, w, 1)}, Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if c := a.Clocks[1]; c.Offset == nil || c.Offset.Abs() > *c.Bound || !c.Consistent {
			t.Errorf("%d00 µs late: got %+v, want 0 within the bound", late, c)
		}
		if v := only(t, a).Vantages; v[0].File != 0 {
			t.Errorf("%d00 µs late: got path %v", late, v)
		}
	}
}

func TestExchangesWithoutTimestampsAreUnitedHoweverFarTheClocksAreApart(t *testing.T) {
	for _, truth := range []time.Duration{30 * time.Second, -26 * time.Hour} {
		for _, verdict := range []Verdict{VerdictSimultaneousOpen, VerdictLateCrossing, VerdictThreeWay} {
			w := newWorld()
			w.noStamps = true
			w.clocks = [4]time.Duration{0, 0, truth, truth}
			a := w.play(t, scenarios[verdict]...).analyse(t, 0, 1, 2)
			if c := a.Clocks[2]; len(a.Handshakes) != 1 || a.Handshakes[0].Verdict != verdict || c.Offset == nil || (*c.Offset-truth).Abs() > *c.Bound {
				t.Errorf("%v, clock wrong by %v: got %v, %+v", verdict, truth, a.Summary, c)
			}
		}
	}
}

func TestEveryFileHasAClock(t *testing.T) {
	for _, files := range []int{1, maxClocks, maxClocks + 3} {
		w := newWorld().play(t, scenarios[VerdictSimultaneousOpen]...)
		var list []Source
		for range files {
			list = append(list, w.file(t, "x", w.perPlace[0]))
		}
		a, err := Analyze(list, Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Clocks) != files || a.Clocks[files-1].File != files-1 || !a.Clocks[files-1].Consistent {
			t.Errorf("%d files: got %d clocks", files, len(a.Clocks))
		}
	}
}
