package predict

import (
	"math/rand/v2"
	"testing"

	"tcppunch/predict/nat"
)

// seeded logs its seed, so that a failure can be repeated.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// allocators are one of each kind. Foreign mappings concern only those that
// count.
var allocators = map[string]nat.Config{
	"preserving":          {Ports: nat.Preserving, Overload: true},
	"sequential":          {Ports: nat.Sequential},
	"sequential by 2":     {Ports: nat.Sequential, Delta: 2},
	"downwards by 3":      {Ports: nat.Sequential, Delta: -3},
	"lowest":              {Ports: nat.Lowest},
	"random":              {Ports: nat.Random},
	"random as pf does":   {Ports: nat.Random, Low: 50001},
	"random of 10000":     {Ports: nat.Random, Low: 20000, High: 29999},
	"band of 251":         {Ports: nat.Band, Width: 251},
	"band of 100":         {Ports: nat.Band, Width: 100},
	"block of 128":        {Ports: nat.Block, Width: 128},
	"block of 512":        {Ports: nat.Block, Width: 512},
	"parity":              {Ports: nat.Parity},
	"sequential, busy":    {Ports: nat.Sequential, Churn: 50},
	"sequential, batches": {Ports: nat.Sequential, Churn: 50, ChurnBatch: 4},
	"sequential, 5/s":     {Ports: nat.Sequential, Churn: 5, ChurnBatch: 4},
	"lowest, batches":     {Ports: nat.Lowest, Churn: 50, ChurnBatch: 4},
}

// sameKind treats as one what a subscriber cannot tell apart: bands and blocks;
// and, while nothing becomes free, sequential ports and the lowest ones.
func sameKind(a, b nat.PortAssignment) bool {
	return a == b || narrow(a) && narrow(b) || counts(a) && counts(b)
}

func TestKindOfAllocatorIsRecognisedFromTwelveObservations(t *testing.T) {
	rng := seeded(t)
	rounds := 300 * simulated
	for name, config := range allocators {
		wrong := map[string]int{}
		for range rounds {
			b := Classify(newNetwork(t, config, rng).observe(t, 12))
			if err := b.Check(); err != nil {
				t.Errorf("%s: %v: %s", name, err, text(b))
			}
			if !sameKind(b.Ports.Model, config.Ports) {
				wrong[b.Ports.Model.String()]++
			}
		}
		n := 0
		for _, count := range wrong {
			n += count
		}
		if allowed := rounds / 100; n > allowed {
			t.Errorf("%s: %d of %d wrong, want at most %d: %v", name, n, rounds, allowed, wrong)
		}
	}
}
