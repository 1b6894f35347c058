package lab

import (
	"sync"
	"time"
)

// gate lets so many in at a time: fewer when the machine is too slow, more again
// when it is not. Who only waits lends its place.
type gate struct {
	mu     sync.Mutex
	change *sync.Cond
	width  int
	widest int
	inside int // that are at work
	open   int // that have entered and not left
	good   int // that left without having been slow, since the width has changed
}

// mostOpen is how many have entered and not left, for each place.
const mostOpen = 3

// busyFor is how long a meeting that has not ended is at work, beside some round
// trips. Then it has launched, a second ago or nearly so, and waits for an answer until
// its time is up: a SYN a second and less, which the delay leaves room for.
const busyFor = 1500 * time.Millisecond

func newGate(width int) *gate {
	g := &gate{width: width, widest: width}
	g.change = sync.NewCond(&g.mu)
	return g
}

func (g *gate) enter() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.inside >= g.width || g.open >= mostOpen*g.widest {
		g.change.Wait()
	}
	g.inside++
	g.open++
}

// leave lets another one in, and after three of them one more.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.open--
	if g.good++; g.good >= 3 {
		g.good, g.width = 0, min(g.width+1, g.widest)
	}
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
		for g.inside >= g.width {
			g.change.Wait()
		}
		g.inside++
	}
}

// narrow lets one less in, but never less than two.
func (g *gate) narrow() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.good, g.width = 0, max(g.width-1, min(2, g.width))
}
