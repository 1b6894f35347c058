package timing

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

func measured(name string, offset, delay time.Duration) Offset {
	return Offset{Name: name, Offset: offset, Bound: delay / 2, Delay: delay, Uncertainty: delay / 8}
}

func TestPairCancelsTheServersErrors(t *testing.T) {
	// b is 5 ms ahead of a; the second server is an hour wrong.
	a := []Offset{measured("near", 40*ms, 2*ms), measured("wrong", time.Hour, 2*ms), measured("own", 0, ms)}
	b := []Offset{measured("wrong", time.Hour-5*ms, 2*ms), measured("near", 35*ms, 2*ms), measured("other", 0, ms)}
	d, ok := Pair(a, b)
	if !ok || d.Offset != 5*ms || d.Bound != 2*ms || d.Uncertainty >= d.Bound {
		t.Errorf("got %+v, %v, want 5ms ± 2ms", d, ok)
	}
	if want := []string{"near", "wrong"}; !slices.Equal(d.Used, want) {
		t.Errorf("used: got %v, want %v", d.Used, want)
	}
	if back, _ := Pair(b, a); back.Offset != -d.Offset || back.Bound != d.Bound || back.Uncertainty != d.Uncertainty {
		t.Errorf("exchanged: got %+v of %+v", back, d)
	}
}

func TestPairWeighsByTheSquareOfTheDelay(t *testing.T) {
	a := []Offset{measured("far", 8*ms, 20*ms), measured("near", 0, 10*ms)}
	b := []Offset{measured("far", 0, 20*ms), measured("near", 0, 10*ms)}
	// (8 ms · 1/40² + 0 · 1/20²) / (1/40² + 1/20²) = 8 ms / 5
	if d, _ := Pair(a, b); d.Offset != 1600*us {
		t.Errorf("got %v, want 1.6ms", d.Offset)
	}
}

func TestPairBoundIsWhereTheIntervalsOverlap(t *testing.T) {
	a := []Offset{measured("x", 3*ms, 4*ms), measured("y", -3*ms, 4*ms)}
	b := []Offset{measured("x", 0, 4*ms), measured("y", 0, 4*ms)}
	// 3 ± 4 ms and −3 ± 4 ms overlap in 0 ± 1 ms.
	if d, _ := Pair(a, b); d.Offset != 0 || d.Bound != ms {
		t.Errorf("got %v ± %v, want 0 ± 1ms", d.Offset, d.Bound)
	}
}

func TestOldMeasurementWeighsLittle(t *testing.T) {
	old := measured("old", 9*ms, 2*ms)
	old.Bound = 20 * ms // half an hour of PHI
	a := []Offset{old, measured("fresh", 0, 10*ms)}
	b := []Offset{measured("old", 0, 2*ms), measured("fresh", 0, 10*ms)}
	if d, _ := Pair(a, b); d.Offset > 2*ms {
		t.Errorf("got %v, want near 0, which the fresh server says", d.Offset)
	}
}

func TestServerThatToldThePeersDifferentTimesIsLeftOut(t *testing.T) {
	a := []Offset{measured("1", 0, 10*ms), measured("2", ms, 10*ms), measured("3", time.Second, ms), measured("4", -ms, 10*ms)}
	b := []Offset{measured("1", 0, 10*ms), measured("2", 0, 10*ms), measured("3", 0, ms), measured("4", 0, 10*ms)}
	d, _ := Pair(a, b)
	if !slices.Equal(d.Falsetickers, []string{"3"}) || !slices.Equal(d.Used, []string{"1", "2", "4"}) {
		t.Errorf("got %+v", d)
	}
	without, _ := Pair(slices.Delete(slices.Clone(a), 2, 3), b)
	without.Falsetickers = d.Falsetickers
	if !reflect.DeepEqual(d, without) {
		t.Errorf("the lie changes the result: got %+v, without it %+v", d, without)
	}
}

func TestContradictionWithoutMajorityWidensTheBound(t *testing.T) {
	a := []Offset{measured("1", 0, 2*ms), measured("2", time.Second, 2*ms)}
	b := []Offset{measured("1", 0, 2*ms), measured("2", 0, 2*ms)}
	d, _ := Pair(a, b)
	for _, truth := range []time.Duration{0, time.Second} {
		if (d.Offset-truth).Abs() > d.Bound || (d.Offset-truth).Abs() > d.Uncertainty {
			t.Errorf("%v ± %v (%v) excludes %v, which one of two servers says", d.Offset, d.Bound, d.Uncertainty, truth)
		}
	}
}

func TestPeersWithoutACommonServerHaveNoDifference(t *testing.T) {
	if d, ok := Pair([]Offset{measured("a", 0, 0)}, []Offset{measured("b", 0, 0)}); ok {
		t.Errorf("got %+v", d)
	}
	if al, ok := Align(nil, nil); ok {
		t.Errorf("got %+v", al)
	}
}

// randomOffsets are two peers' lists in random order.
func randomOffsets(r *rand.Rand) (a, b []Offset, difference time.Duration) {
	difference = time.Duration(r.Int64N(int64(time.Hour))) - 30*time.Minute
	for _, name := range []string{"p", "q", "r", "s", "t"}[:1+r.IntN(5)] {
		theta, delay := time.Duration(r.Int64N(int64(100*ms))), ms+time.Duration(r.Int64N(int64(40*ms)))
		a = append(a, measured(name, theta+delay/4, delay))
		b = append(b, measured(name, theta-difference-delay/5, delay))
	}
	r.Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
	return a, b, difference
}

func TestAlignIsSymmetricAndAgreesWithPair(t *testing.T) {
	const seed = 1
	r := rand.New(rand.NewPCG(seed, 0))
	for n := range 1000 {
		a, b, truth := randomOffsets(r)
		al, ok := Align(a, b)
		if !ok {
			t.Fatalf("seed %d, case %d: no alignment", seed, n)
		}
		d, _ := Pair(a, b)
		if al.Difference() != d.Offset || al.Bound != d.Bound || al.Uncertainty != d.Uncertainty || !slices.Equal(al.Used, d.Used) {
			t.Errorf("seed %d, case %d: alignment %+v, pair %+v", seed, n, al, d)
		}
		if off := (al.Difference() - truth).Abs(); off > al.Bound {
			t.Errorf("seed %d, case %d: %v off, bound %v", seed, n, off, al.Bound)
		}
		back, _ := Align(b, a)
		if (back.LowOffset-al.HighOffset).Abs() > 1 || (back.HighOffset-al.LowOffset).Abs() > 1 || back.Difference() != -al.Difference() {
			t.Errorf("seed %d, case %d: exchanged: got %+v of %+v", seed, n, back, al)
		}
		slices.Reverse(a)
		if again, _ := Align(a, b); !reflect.DeepEqual(again, al) {
			t.Errorf("seed %d, case %d: in another order: got %+v, want %+v", seed, n, again, al)
		}
	}
}

func TestAlignedTimescaleIsThatOfTheServers(t *testing.T) {
	al, _ := Align([]Offset{measured("x", -time.Hour, 2*ms), measured("y", -time.Hour+ms, 2*ms)}, []Offset{measured("x", ms, 2*ms), measured("y", 2*ms, 2*ms)})
	if al.LowOffset != -time.Hour+500*us || al.HighOffset != 1500*us {
		t.Errorf("got %v, %v, want -1h and 1ms, both plus half a millisecond", al.LowOffset, al.HighOffset)
	}
}

func FuzzPairBearsAnyOffer(f *testing.F) {
	f.Add(int64(0), int64(math.MaxInt64), int64(5), int64(5), int64(math.MinInt64), int64(1))
	f.Add(int64(1<<61), int64(1<<59), int64(1<<59), int64(1<<59), int64(-1<<61), int64(1<<59))
	f.Add(int64(0), int64(0), int64(0), int64(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, offset, bound, delay, uncertainty, other, otherBound int64) {
		a := []Offset{{"x", time.Duration(offset), time.Duration(bound), time.Duration(delay), time.Duration(uncertainty)}, measured("y", 0, ms)}
		b := []Offset{{"x", time.Duration(other), time.Duration(otherBound), 0, 0}, measured("y", 0, ms)}
		d, ok := Pair(a, b)
		if !ok || d.Bound < 0 || d.Uncertainty < 0 || d.Uncertainty > d.Bound || len(d.Used)+len(d.Falsetickers) == 0 {
			t.Errorf("got %+v, %v", d, ok)
		}
	})
}

func TestLyingServerAmongFourIsNamedAndChangesNothing(t *testing.T) {
	answers := []answer{
		answerWith("a", sampleWith(0, 20*ms), sampleWith(ms, 24*ms)), answerWith("b", sampleWith(2*ms, 10*ms), sampleWith(ms, 12*ms)),
		answerWith("liar", sampleWith(time.Second, ms), sampleWith(time.Second, 2*ms)), answerWith("c", sampleWith(-ms, 30*ms), sampleWith(0, 40*ms)),
	}
	with, err := judge(answers, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := verdicts(with), "truechimer truechimer falseticker truechimer"; got != want {
		t.Errorf("verdicts: got %s, want %s", got, want)
	}
	without, _ := judge(slices.Delete(slices.Clone(answers), 2, 3), 0)
	with.Servers = without.Servers
	if !reflect.DeepEqual(with, without) {
		t.Errorf("the lie changes the estimate: got %+v, without it %+v", with, without)
	}
}
