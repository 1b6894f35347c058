package lab

import (
	"testing"
	"time"
)

// A machine that is too slow for the instant, not the method, is what a missed
// crossing on a quiet network tells.
func TestDemonstrationThatShowsNoCrossingIsHeldOnceMore(t *testing.T) {
	late := "the core was 3ms late"
	apart := new(int64(36 * time.Millisecond))
	for _, c := range []struct {
		trial Trial
		want  string
	}{
		{Trial{Valid: true, Crossing: new(true), Skew: apart}, ""},
		{Trial{Valid: true}, ""}, // it never came to SYNs, and says why
		{Trial{InvalidReason: &late, Crossing: new(true), Skew: apart}, late},
		{Trial{Valid: true, Crossing: new(false), Skew: new(-*apart)}, "the SYNs missed each other, since this machine launched them 36ms apart"},
	} {
		s := story{trial: c.trial}
		if got := s.tooSlow(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
