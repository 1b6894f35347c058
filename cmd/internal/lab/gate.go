package lab

import (
	"sync"
	"time"
)

// gate lets so many in at a time: few at first, more while the machine keeps up,
// fewer when it is too slow. Who only waits lends its place.
type gate struct {
	mu     sync.Mutex
	change *sync.Cond
	width  int
	widest int
	inside int       // that are at work
	back   int       // that want the place back which they lent
	open   int       // that have entered and not left
	good   int       // trials that the machine was not too slow for, since the width has changed
	slowed time.Time // when the machine was last found too slow; zero: never
}

// narrowest is how many are let in before anything is known of the machine.
const narrowest = 4

// mostOpen is how many have entered and not left, for each place.
const mostOpen = 3

// busyFor is how long a meeting that has not ended is at work, beside some round
// trips. Then it has launched, a second ago or nearly so, and waits for an answer until
// its time is up: a SYN a second and less, which the delay leaves room for.
const busyFor = 1500 * time.Millisecond

func newGate(width int) *gate {
	g := &gate{width: min(width, narrowest), widest: width}
	g.change = sync.NewCond(&g.mu)
	return g
}

func (g *gate) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.inside >= g.width || g.back > 0 || g.open >= mostOpen*g.widest {
		g.change.Wait()
	}
	g.inside++
	g.open++
}

// leave lets another one in.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.open--
	g.change.Broadcast()
}

// lend gives a place away once so much time has passed. What it returns takes one
// back, if it has come to that, and waits until there is one.
func (g *gate) lend(after time.Duration) (back func()) {
	lent := make(chan struct{})
	timer := time.AfterFunc(after, func() {
		defer close(lent)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.inside--
		g.change.Broadcast()
	})
	return func() {
		if timer.Stop() {
			return
		}
		<-lent
		g.mu.Lock()
		defer g.mu.Unlock()
		for g.back++; g.inside >= g.width; {
			g.change.Wait()
		}
		g.back--
		g.inside++
		g.change.Broadcast()
	}
}

// fared is told of each trial whether the machine was quick enough for it. Each good
// one lets one more in until the first bad one, and then as many as fit in
// at a time. A bad one takes a quarter away, but never leaves less than two; those
// that began before tell nothing new.
func (g *gate) fared(well bool, began time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case well:
		g.good++
		if g.slowed.IsZero() || g.good >= g.width {
			g.good, g.width = 0, min(g.width+1, g.widest)
			g.change.Broadcast()
		}
	case !began.Before(g.slowed):
		g.good, g.slowed = 0, time.Now()
		g.width = max(g.width-max(g.width/4, 1), min(2, g.width))
	}
}
