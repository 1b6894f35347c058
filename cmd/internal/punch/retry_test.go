package punch

import (
	"testing"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

func TestRetriesFallOnCommonInstants(t *testing.T) {
	p := plan{at: timing.Instant(time.Hour)}
	for _, late := range []time.Duration{-time.Second, 0, time.Nanosecond, pitch, 40*time.Millisecond + 7} {
		now := p.at.Add(late)
		at := p.retryAt(now, 3)
		if wait := at.Sub(now); wait <= 0 || wait > 2*pitch || at.Sub(p.at)%pitch != 0 {
			t.Errorf("%s after the instant the retry waits %s", late, wait)
		}
	}
}

func TestRetriesLeaveTheSecondRoundAlone(t *testing.T) {
	p := plan{at: timing.Instant(time.Hour), likely: time.Millisecond, sweeps: true, bound: time.Millisecond,
		pairs: []rendezvous.Pair{{Local: rendezvous.Candidate{Spare: true}}}}
	from, to := p.secondRound()
	if from >= p.lowTTLAt() || to <= p.lowTTLAt().Add(p.lowTTLGap()) {
		t.Fatalf("the second round is from %s to %s, and its SYNs leave at %s and %s later", from.Sub(p.at), to.Sub(p.at), p.lowTTLAt().Sub(p.at), p.lowTTLGap())
	}
	for refused := p.at; refused < to.Add(pitch); refused = refused.Add(333 * time.Microsecond) {
		for n := range 5 {
			if at := p.retryAt(refused, n); at <= refused || at >= from && at < to.Add(-pitch/2) {
				t.Fatalf("%s after the instant, try %d is due after %s", refused.Sub(p.at), n, at.Sub(p.at))
			}
		}
	}
}

// TestASweepCrossesWithinTheBound: however far the two sides' instants lie
// apart within the bound, some try of the sweep comes within the window.
func TestASweepCrossesWithinTheBound(t *testing.T) {
	for _, bound := range []time.Duration{10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond} {
		tries := 1 + 2*int((bound+window)/(2*window))
		p := plan{sweeps: true, bound: bound}
		for apart := -bound; apart <= bound; apart += 777 {
			crossed := false
			for n := range tries {
				crossed = crossed || (p.phase(n)-apart).Abs() <= window
			}
			if !crossed {
				t.Fatalf("instants %s apart never cross within ± %s in %d tries", apart, bound, tries)
			}
		}
	}
}

func TestOnlyOneSideSweeps(t *testing.T) {
	for n := range 100 {
		if (plan{bound: time.Millisecond}).phase(n) != 0 {
			t.Fatal("the other side leaves the instants as well")
		}
	}
}
