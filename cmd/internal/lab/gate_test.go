package lab

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhoOnlyWaitsLendsItsPlace: eight that work for a second and then wait for
// three more, through a gate for two.
func TestWhoOnlyWaitsLendsItsPlace(t *testing.T) {
	for _, c := range []struct {
		waits time.Duration
		want  time.Duration
	}{
		{0, 4 * time.Second}, // two at a time
		// Two begin each second, until six are open; what ends takes its place back.
		{3 * time.Second, 8 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGate(2)
			began := time.Now()
			done := make(chan struct{})
			most, open := int32(0), atomic.Int32{}
			for range 8 {
				g.enter()
				most = max(most, open.Add(1))
				go func() {
					back := g.lend(time.Second + time.Millisecond)
					time.Sleep(time.Second + c.waits)
					back()
					open.Add(-1)
					g.leave()
					done <- struct{}{}
				}()
			}
			for range 8 {
				<-done
			}
			if took := time.Since(began).Round(time.Second); took > c.want || most > 2*mostOpen || g.inside != 0 || g.open != 0 {
				t.Errorf("waiting %v: it took %v, and %d were open at a time; %d and %d are left; want %v and at most %d", c.waits, took, most, g.inside, g.open, c.want, 2*mostOpen)
			}
		})
	}
}

// TestAGateOpensWhileTheMachineKeepsUp: quickly until it is too slow, then slowly;
// and of many trials that were too slow together only one counts.
func TestAGateOpensWhileTheMachineKeepsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(16)
		round := func(well bool, n int) {
			began := time.Now()
			time.Sleep(time.Second)
			for range n {
				g.fared(well, began)
			}
		}
		for _, c := range []struct {
			well bool
			n    int
			want int
		}{{true, 4, 8}, {true, 8, 16}, {true, 16, 16}, {false, 16, 12}, {true, 11, 12}, {true, 1, 13}, {false, 1, 10}, {false, 9, 8}} {
			if round(c.well, c.n); g.width != c.want {
				t.Fatalf("after %d trials, good %v: a width of %d, want %d", c.n, c.well, g.width, c.want)
			}
		}
		for range 20 {
			round(false, 1)
		}
		if g.width != 2 {
			t.Errorf("a width of %d is left on a slow machine, want 2", g.width)
		}
	})
}
