package lab

import (
	"math"
	"testing"
)

func TestBinomialIsADistribution(t *testing.T) {
	for _, n := range []int{0, 1, 5, 100} {
		sum, mean := 0.0, 0.0
		for k := range n + 1 {
			sum += binomial(k, n, 0.037)
			mean += float64(k) * binomial(k, n, 0.037)
		}
		if math.Abs(sum-1) > 1e-9 || math.Abs(mean-0.037*float64(n)) > 1e-9 {
			t.Errorf("of %d: sum %v, mean %v", n, sum, mean)
		}
	}
}

// Of five trials at 0.037 two are outside of the 99 % interval and one is inside.
func TestSomeCellsDisagreeByChance(t *testing.T) {
	cells := []MatrixCell{measured("a", "b", 0.037, 0, 5), measured("a", "c", 1, 5, 5), measured("b", "c", 0.037, 2, 5)}
	one := 1 - math.Pow(0.963, 5) - 5*0.037*math.Pow(0.963, 4)
	if got := strays(cells); math.Abs(got-2*one) > 1e-9 {
		t.Errorf("got %v, want %v: the certain cell does not count", got, 2*one)
	}
	if cells[2].Agrees || !cells[0].Agrees {
		t.Errorf("0 of 5 agrees %t, 2 of 5 %t, want only the first", cells[0].Agrees, cells[2].Agrees)
	}
}
