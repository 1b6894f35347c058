package timing

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// ways is a sample whose request took forth and whose reply took back.
func ways(forth, back time.Duration) Sample {
	return sampleWith((forth-back)/2, forth+back)
}

func TestQuickestRequestAndQuickestReplyCountApart(t *testing.T) {
	f := filter([]Sample{ways(2*ms, 9*ms), ways(8*ms, 2*ms), ways(5*ms, 5*ms)}, 0)
	if f.offset.Abs() > us || (f.bound-2*ms).Abs() > us {
		t.Errorf("got %v ± %v, want 0 ± 2ms; no sample alone is better than ± 5ms", f.offset, f.bound)
	}
	if f.best.Delay() != 10*ms {
		t.Errorf("delay: got %v, want that of the quickest round trip, 10ms", f.best.Delay())
	}
}

func TestServerThatWasSetInBetweenCountsByItsBestSample(t *testing.T) {
	early, late := sampleWith(0, 4*ms), sampleWith(time.Second, 2*ms)
	f := filter([]Sample{early, early, late}, 0)
	if f.offset != time.Second || (f.bound-ms).Abs() > us {
		t.Errorf("got %v ± %v, want 1s ± 1ms, as the sample with the least delay says", f.offset, f.bound)
	}
}

func TestFilterIsNeverWiderThanTheLeastDelayAndHoldsTheTruth(t *testing.T) {
	const seed = 8
	r := rand.New(rand.NewPCG(seed, 0))
	for n := range 2000 {
		theta := time.Duration(r.Int64N(int64(time.Hour)))
		var samples []Sample
		for range 1 + r.IntN(12) {
			s := ways(time.Duration(r.Int64N(int64(20*ms))), time.Duration(r.Int64N(int64(20*ms))))
			s.T2, s.T3 = s.T2.Add(theta), s.T3.Add(theta)
			samples = append(samples, s)
		}
		f := filter(samples, 0)
		if least := f.best.Bound(0); f.bound > least {
			t.Errorf("seed %d, case %d: bound %v, the best sample alone has %v", seed, n, f.bound, least)
		}
		if off := (f.offset - theta).Abs(); off > f.bound || f.uncertainty > f.bound {
			t.Errorf("seed %d, case %d: %v off, bound %v, uncertainty %v", seed, n, off, f.bound, f.uncertainty)
		}
	}
}

func TestMoreSamplesAreTakenOnlyWhereTheyHelp(t *testing.T) {
	calm, busy, far := slices.Repeat([]Sample{ways(10*ms, 10*ms)}, 8), []Sample(nil), []Sample(nil)
	for i := range 8 {
		busy = append(busy, ways(time.Duration(10+5*i)*ms, 10*ms))
		s := busy[i]
		s.Destination = s.Destination.Add(time.Duration(i) * 200 * ms)
		far = append(far, s)
	}
	for _, c := range []struct {
		name    string
		samples []Sample
		want    bool
	}{{"nothing waits", calm, false}, {"one way waits", busy, true}, {"it took long already", far, false}, {"one sample", busy[:1], false}} {
		if got := worthMore(c.samples); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// honest are servers whose clocks tell the truth, 0, over uneven paths.
func honest(r *rand.Rand, n int) []answer {
	var list []answer
	for i := range n {
		delay := 8*ms + time.Duration(r.Int64N(int64(30*ms)))
		list = append(list, answerWith(string(rune('a'+i)), sampleWith(time.Duration((r.Float64()-.5)*float64(delay)), delay)))
	}
	return list
}

func TestNoMinorityOfLiarsMovesTheTruthOutOfTheBound(t *testing.T) {
	const seed = 3
	r := rand.New(rand.NewPCG(seed, 0))
	for n := range 20000 {
		truthful := 1 + r.IntN(4)
		answers := honest(r, truthful)
		lie := time.Duration(r.Int64N(int64(80*ms))) - 40*ms
		for i := range r.IntN(truthful) {
			delay := ms + time.Duration(r.Int64N(int64(30*ms)))
			answers = append(answers, answerWith(string(rune('p'+i)), sampleWith(lie+time.Duration(r.Int64N(int64(ms))), delay)))
		}
		e, err := judge(answers, 0)
		if err != nil {
			t.Fatalf("seed %d, case %d: %v", seed, n, err)
		}
		if e.Offset.Abs() > e.Bound {
			t.Fatalf("seed %d, case %d: %d of %d tell the truth, which is %v off; the bound is %v, the lie %v", seed, n, truthful, len(answers), e.Offset, e.Bound, lie)
		}
		var own []Offset
		for i, s := range e.Servers {
			o := Offset{Name: s.Name, Offset: *s.Offset, Bound: *s.Bound, Uncertainty: *s.Uncertainty}
			if i >= truthful { // told to one peer only
				o.Offset += lie
			}
			own = append(own, o)
		}
		var other []Offset
		for _, o := range own {
			other = append(other, Offset{Name: o.Name, Bound: 5 * ms, Uncertainty: ms})
		}
		if d, _ := Pair(own, other); d.Offset.Abs() > d.Bound {
			t.Fatalf("seed %d, case %d: pair: %v off, bound %v, lie %v", seed, n, d.Offset, d.Bound, lie)
		}
	}
}

func TestLieJustOutsideOfTheBoundsIsNamedAndChangesNothing(t *testing.T) {
	truthful := []answer{answerWith("a", sampleWith(ms, 20*ms)), answerWith("b", sampleWith(-ms, 16*ms)), answerWith("c", sampleWith(0, 30*ms))}
	without, err := judge(truthful, 0)
	if err != nil {
		t.Fatal(err)
	}
	// They have −9 … 7 ms in common; the liar's interval begins at its offset − 2 ms.
	for _, c := range []struct {
		lie   time.Duration
		named bool
	}{{9*ms + us, true}, {-11*ms - us, true}, {9*ms - us, false}, {time.Second, true}} {
		with, err := judge(append(slices.Clone(truthful), answerWith("liar", sampleWith(c.lie, 4*ms))), 0)
		if err != nil {
			t.Fatal(err)
		}
		if named := with.Servers[3].Verdict == Falseticker; named != c.named {
			t.Errorf("lie of %v: verdict %v", c.lie, with.Servers[3].Verdict)
		}
		if c.named && (with.Offset != without.Offset || with.Bound != without.Bound || with.Uncertainty != without.Uncertainty) {
			t.Errorf("lie of %v: got %v ± %v (%v), without it %v ± %v (%v)", c.lie, with.Offset, with.Bound, with.Uncertainty, without.Offset, without.Bound, without.Uncertainty)
		}
		if with.Offset.Abs() > with.Bound {
			t.Errorf("lie of %v: %v off, bound %v", c.lie, with.Offset, with.Bound)
		}
	}
}

func TestTwoLiarsOfFiveAreNamedAndChangeNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 0))
	truthful := honest(r, 3)
	without, _ := judge(truthful, 0)
	for _, lies := range [][2]time.Duration{{time.Second, time.Second}, {time.Second, -time.Hour}, {60 * ms, -60 * ms}} {
		answers := append(slices.Clone(truthful), answerWith("p", sampleWith(lies[0], 2*ms)), answerWith("q", sampleWith(lies[1], ms)))
		with, err := judge(answers, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := verdicts(with), "truechimer truechimer truechimer falseticker falseticker"; got != want {
			t.Errorf("lies %v: verdicts: got %s, want %s", lies, got, want)
		}
		if with.Offset != without.Offset || with.Bound != without.Bound || with.Uncertainty != without.Uncertainty {
			t.Errorf("lies %v: got %v ± %v, without them %v ± %v", lies, with.Offset, with.Bound, without.Offset, without.Bound)
		}
	}
}
