package lab

import (
	"testing"
	"time"
)

func TestTheoryFollowsFromBothBehaviours(t *testing.T) {
	usual := Terms{Delay: 20 * time.Millisecond, Spread: launchSpread, Budget: 100, Persists: true}
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
		{"linux", "symmetric", usual, 0},
		{"linux", "cisco-ios", usual, 1},
		{"cisco-asa", "linux", usual, 1},
		{"cisco-asa", "dual-open-denied", usual, 0},
		{"crossing=rst", "linux+dual-open-denied", usual, 0},
		{"linux+cgn-eim-block", "linux", usual, 1},
		{"linux+cgn-block-512", "linux", usual, 0},
		{"quota=3", "public", usual, 0},
		{"quota=4", "public", usual, 1},
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
		if back := Expect(profile(t, c.b), profile(t, c.a), Terms{c.terms.Delay, -c.terms.Skew, c.terms.Spread, c.terms.Budget, c.terms.Persists}); back != got {
			t.Errorf("%s × %s: got %+v, the other way round %+v", c.a, c.b, got, back)
		}
	}
}
