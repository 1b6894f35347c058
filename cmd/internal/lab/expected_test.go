package lab

import (
	"math"
	"testing"
	"time"
)

func TestTheoryFollowsFromBothBehaviours(t *testing.T) {
	usual := Terms{Delay: 20 * time.Millisecond, Spread: launchSpread, Budget: 100, Persists: true}
	crafting := usual
	crafting.Crafts = true
	late := Terms{Delay: 20 * time.Millisecond, Skew: 196 * time.Millisecond, Spread: launchSpread, Budget: 100}
	near := Terms{Delay: launchSpread, Spread: launchSpread, Budget: 100}
	for _, c := range []struct {
		a, b  string
		terms Terms
		want  float64
	}{
		{"linux", "linux", usual, 1},
		{"public", "firewall6", usual, 1},
		{"linux", "firewall6", usual, 0},
		{"same-nat", "azure", usual, 1},
		{"symmetric", "symmetric", usual, 0},
		{"public", "symmetric", usual, 1}, // who listens lets in
		{"address-restricted", "azure", usual, 1},
		{"linux", "home-sequential", usual, 1},
		{"linux", "cisco-ios", usual, 1},
		{"cisco-asa", "linux", usual, 1},
		{"cisco-asa", "dual-open-denied", usual, 0},
		{"crossing=rst", "linux+dual-open-denied", usual, 0},
		{"cisco-asa", "dual-open-denied", crafting, 1},
		{"crossing=rst", "linux+dual-open-denied", crafting, 1},
		{"linux+dual-open-denied", "linux+dual-open-denied", crafting, 0}, // neither lets the SYN-ACK out
		{"cisco-asa", "cisco-asa", crafting, 0},                           // neither's number is the one that was told
		{"cisco-asa", "crossing=drop,seq=window", crafting, 1},
		{"linux+cgn-eim-block", "linux", usual, 1},
		{"linux+cgn-block-512", "symmetric", usual, 0},
		{"quota=13", "public", usual, 0},
		{"quota=14", "public", usual, 1},
		{"openwrt", "openwrt", late, 0},
		{"openwrt", "linux", late, 1}, // A launches first, into silence
		{"linux", "openwrt", late, 0},
		{"linux", "linux", late, 1},
		{"openwrt", "openwrt", near, 0.6827}, // within one standard deviation
		{"linux", "openwrt", near, 0.8413},
	} {
		got := Expect(profile(t, c.a), profile(t, c.b), c.terms)
		if diff := got.Probability - c.want; diff > 1e-3 || diff < -1e-3 || got.Because == "" {
			t.Errorf("%s × %s at %+v: got %+v, want %v", c.a, c.b, c.terms, got, c.want)
		}
		if back := Expect(profile(t, c.b), profile(t, c.a), Terms{Delay: c.terms.Delay, Skew: -c.terms.Skew, Spread: c.terms.Spread, Budget: c.terms.Budget, Persists: c.terms.Persists, Crafts: c.terms.Crafts}); math.Abs(back.Probability-got.Probability) > 1e-3 {
			t.Errorf("%s × %s: got %+v, the other way round %+v", c.a, c.b, got, back)
		}
	}
}

// The bounds are those of what is best possible with 100 SYNs, where one side
// draws from N ports, 1 − exp(−2500/N), and of what knowledge from a dozen
// probes may cost.
func TestTheoryOfGuessesLiesBelowWhatIsPossible(t *testing.T) {
	terms := Terms{Delay: 20 * time.Millisecond, Spread: launchSpread, Budget: 100, Persists: true}
	for _, c := range []struct {
		a, b     string
		low, top float64
	}{
		{"linux", "symmetric", 0.025, 0.0387},
		{"linux", "pf", 0.10, 0.15},
		{"linux", "cgn-block-512", 0.97, 0.9964},
		{"linux", "cellular-band-251", 0.99, 1},
		{"home-sequential", "cellular-sequential", 0.9, 1},
		{"cellular-band-251", "cellular-band-251", 0.02, 0.0414},
		{"cgn-block-512", "symmetric", 0, 0},
	} {
		if got := Expect(profile(t, c.a), profile(t, c.b), terms).Probability; got < c.low || got > c.top {
			t.Errorf("%s × %s: got %v, want %v to %v", c.a, c.b, got, c.low, c.top)
		}
	}
}
