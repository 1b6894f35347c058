package predict

import (
	"math"
	"testing"
)

// integrate gives the first three moments of a split normal distribution.
func integrate(mode, below, above float64) (mean, variance, third float64) {
	const step = 1e-3
	total := 0.0
	density := func(x float64) float64 {
		if x < mode {
			return math.Exp(-(x - mode) * (x - mode) / 2 / below / below)
		}
		return math.Exp(-(x - mode) * (x - mode) / 2 / above / above)
	}
	for x := mode - 8*below; x < mode+8*above; x += step {
		total += density(x)
		mean += density(x) * x
	}
	mean /= total
	for x := mode - 8*below; x < mode+8*above; x += step {
		d := x - mean
		variance += density(x) * d * d / total
		third += density(x) * d * d * d / total
	}
	return mean, variance, third
}

func TestHalvesHaveTheMomentsThatWereAskedFor(t *testing.T) {
	for _, want := range [][3]float64{{3, .5, .5}, {-1, .2, .9}, {4, 1.2, .4}, {0, .3, .31}} {
		mode, below, above := halves(integrate(want[0], want[1], want[2]))
		for i, got := range [3]float64{mode, below, above} {
			if math.Abs(got-want[i]) > 1e-3 {
				t.Errorf("got %.4f, %.4f, %.4f, want %v", mode, below, above, want)
				break
			}
		}
	}
	if mode, below, above := halves(2, 0, 0); mode != 2 || below != 0 || above != 0 {
		t.Errorf("no variance: got %v, %v, %v, want 2, 0, 0", mode, below, above)
	}
}

func TestLogarithmIsNearTheNaturalOne(t *testing.T) {
	for x := 1.0; x <= 3; x += 0.01 {
		if got, want := logarithm(x), math.Log(x); math.Abs(got-want) > 0.01*want {
			t.Errorf("logarithm(%.2f) = %.4f, want %.4f", x, got, want)
		}
	}
}

// Few batches in a short time may be a slow series of large ones as well as what
// they look like, so that the rate is less known downwards.
func TestRateIsLessKnownDownwardsThanUpwards(t *testing.T) {
	gaps := make([]gap, 11)
	for i := range gaps {
		gaps[i] = gap{0.03, 0}
	}
	gaps[3].number, gaps[8].number = 7, 5
	_, kinds := weighTraffic(gaps)
	for _, x := range kinds {
		if x.Rate > 0 && x.RatioBelow <= x.Ratio {
			t.Errorf("%+v: got a ratio below of %.3f, above of %.3f, want the former larger", x, x.RatioBelow, x.Ratio)
		}
	}
}
