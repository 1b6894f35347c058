package predict

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

// seeded is the generator of one test or subtest. What these tests assert are
// shares of few trials, which no seed at random can be sure to reach, so the
// seed is a fixed one. TCPPUNCH_SEED draws others.
func seeded(t testing.TB) *rand.Rand {
	seed := seedOf(t)
	t.Logf("seed %d", seed)
	name := fnv.New64a()
	name.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(seed, name.Sum64()))
}

func seedOf(t testing.TB) uint64 {
	seed := uint64(1)
	if text := os.Getenv("TCPPUNCH_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatalf("TCPPUNCH_SEED: %v", err)
		}
	}
	return seed
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
	rounds := 100 * simulated
	for name, config := range allocators {
		t.Run(name, func(t *testing.T) {
			rng := seeded(t)
			wrong := map[string]int{}
			for range rounds {
				b := Classify(newNetwork(t, config, rng).observe(t, 12))
				if err := b.Check(); err != nil {
					t.Errorf("%v: %s", err, text(b))
				}
				if !sameKind(b.Ports.Model, config.Ports) {
					wrong[b.Ports.Model.String()]++
				}
			}
			n := 0
			for _, count := range wrong {
				n += count
			}
			if allowed := 3 + rounds/100; n > allowed {
				t.Errorf("%d of %d wrong, want at most %d: %v", n, rounds, allowed, wrong)
			}
		})
	}
}

// Ports that are drawn must not be taken for ports that count.
func TestNoiseIsNotCalledSequential(t *testing.T) {
	rng := seeded(t)
	rounds := 100 * simulated
	for _, width := range []int{16, 64, 251, 1000, 20000, 64512} {
		wrong := 0
		for range rounds {
			n := newNetwork(t, nat.Config{Ports: nat.Band, Width: width}, rng)
			if counts(Classify(n.observe(t, 12)).Ports.Model) {
				wrong++
			}
		}
		if allowed := 3 + rounds*2/1000; wrong > allowed {
			t.Errorf("%d ports: %d of %d called sequential, want at most %d", width, wrong, rounds, allowed)
		}
	}
}

// One-guess methods of published tools, on the observations of a NAT that counts
// with 50 foreign mappings a second: the share of next ports that each names.
func TestBestCandidateBeatsOneGuessMethods(t *testing.T) {
	rounds := 200 * min(simulated, 50)
	for name, config := range map[string]nat.Config{
		"quiet":        {Ports: nat.Sequential, Churn: 5},
		"busy":         {Ports: nat.Sequential, Churn: 50},
		"in batches":   {Ports: nat.Sequential, Churn: 50, ChurnBatch: 4},
		"very busy":    {Ports: nat.Sequential, Churn: 265},
		"by 2":         {Ports: nat.Sequential, Churn: 50, Delta: 2},
		"downwards":    {Ports: nat.Sequential, Churn: 50, Delta: -1},
		"random, 1000": {Ports: nat.Band, Width: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			rng := seeded(t)
			guesses := map[string]int{}
			for range rounds {
				n := newNetwork(t, config, rng)
				obs := n.observe(t, 12)
				party := Party{Classify(obs), obs[11].Reflexive, 300 * time.Millisecond, 0}
				next := n.burst(party.Gap, 1)[0]
				first, before, last := obs[0].Reflexive.Port(), obs[10].Reflexive.Port(), obs[11].Reflexive.Port()
				window := Candidates(party, 21)
				for method, hit := range map[string]bool{
					"best candidate":  window[0].Addr.Port() == next,
					"observed+1":      last+1 == next,
					"last difference": last+(last-before) == next,
					"mean difference": last+uint16(int(int16(last-first))/11) == next,
					"21 candidates":   slices.ContainsFunc(window, func(c Candidate) bool { return c.Addr.Port() == next }),
					"observed ±10":    next-last+10 <= 20,
				} {
					if hit {
						guesses[method]++
					}
				}
			}
			t.Logf("%v of %d", guesses, rounds)
			atLeast := func(ours, theirs string) {
				// Four times the standard error of a difference of two shares.
				if slack := 4 * math.Sqrt(float64(guesses[ours]+guesses[theirs]+1)); float64(guesses[ours]) < float64(guesses[theirs])-slack {
					t.Errorf("%s is right %d times, %s %d times, of %d", ours, guesses[ours], theirs, guesses[theirs], rounds)
				}
			}
			for _, method := range []string{"observed+1", "last difference", "mean difference"} {
				atLeast("best candidate", method)
			}
			atLeast("21 candidates", "observed ±10")
		})
	}
}
