package lab

import (
	"slices"
	"testing"
)

// TestASlowMachineCostsAPairItsTrialsAndNotTheMatrix: hours of other pairs are not
// lost because one was run when the machine had other things to do.
func TestASlowMachineCostsAPairItsTrialsAndNotTheMatrix(t *testing.T) {
	good, slow := Trial{Valid: true}, Trial{}
	for _, test := range []struct {
		good, slow, trials int
		want               bool
	}{
		{0, 0, 1, false},
		{1, 0, 1, true},
		{0, mostReruns, 1, false},
		{0, mostReruns + 1, 1, true},
		{16, 3, 17, false},
		{17, 3, 17, true},
		{16, 17, 17, false},
		{16, 18, 17, true},
	} {
		s := series{trials: slices.Concat(slices.Repeat([]Trial{good}, test.good), slices.Repeat([]Trial{slow}, test.slow))}
		if got := s.suffices(test.trials); got != test.want {
			t.Errorf("%d of %d count, and %d do not: got %v, want %v", test.good, test.trials, test.slow, got, test.want)
		}
	}
}
