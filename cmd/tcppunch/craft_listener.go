package main

import (
	"context"
	"sync"
	"time"

	"tcppunch/rawsock"
)

// craftCatch is a packet of the flow's hosts, as the tap saw it.
type craftCatch struct {
	at    time.Time
	reply rawsock.Reply // or one of ours on its way out
}

// craftListener gathers what the tap shows, and tells when every segment has an
// answer.
type craftListener struct {
	tap      *rawsock.Tap
	segments []rawsock.Segment
	done     chan struct{}
	complete chan struct{}

	mu      sync.Mutex
	catches []craftCatch
	waiting map[int]bool   // segments without an exact answer
	seen    map[string]int // the interface on which a packet was first seen: a bridge shows it on others, too
}

func listenForReplies(tap *rawsock.Tap, segments []rawsock.Segment) *craftListener {
	l := newCraftListener(tap, segments)
	go l.run()
	return l
}

func newCraftListener(tap *rawsock.Tap, segments []rawsock.Segment) *craftListener {
	l := &craftListener{tap: tap, segments: segments, done: make(chan struct{}), complete: make(chan struct{}), waiting: map[int]bool{}, seen: map[string]int{}}
	for i := range segments {
		l.waiting[i] = true
	}
	return l
}

func (l *craftListener) run() {
	defer close(l.done)
	for {
		f, err := l.tap.Next()
		if err != nil {
			return
		}
		packet := networkPacket(f.Data, l.tap.LinkType())
		if first, again := l.seen[string(packet)]; again && first != f.Interface {
			continue
		}
		if reply, err := rawsock.ParseReply(packet); err == nil && len(l.seen) < craftMaxCatches {
			l.seen[string(packet)] = f.Interface
			l.keep(craftCatch{at: f.Time, reply: reply.Clone()})
		}
	}
}

// craftMaxCatches bounds what is kept of a peer that does not stop answering.
const craftMaxCatches = 100_000

// networkPacket cuts the link header off.
func networkPacket(frame []byte, link uint16) []byte {
	header := map[uint16]int{rawsock.LinkTypeEthernet: 14, rawsock.LinkTypeLinuxSLL2: 20}[link]
	return frame[min(header, len(frame)):]
}

// keep takes a packet. An exact answer is one to a single segment, of equal ones
// to any that still waits.
func (l *craftListener) keep(c craftCatch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.catches = append(l.catches, c)
	for i, s := range l.segments {
		if l.waiting[i] && c.reply.Fits(s) == rawsock.FitExact {
			l.expectNone(i)
			return
		}
	}
}

// expectNone stops the wait for an answer to a segment.
func (l *craftListener) expectNone(i int) {
	if l.waiting[i] {
		delete(l.waiting, i)
		if len(l.waiting) == 0 {
			close(l.complete)
		}
	}
}

// forget stops the wait for answers to what was not sent.
func (l *craftListener) forget(fired []rawsock.Fired) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range fired {
		if f.Err != nil {
			l.expectNone(i)
		}
	}
}

// wait ends when every segment has its answer, or the time is over.
func (l *craftListener) wait(ctx context.Context, timeout time.Duration) error {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-l.complete:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// stop reads the tap to its end and returns all that it showed.
func (l *craftListener) stop() (catches []craftCatch, drops uint64) {
	l.tap.Stop()
	<-l.done
	_, drops = l.tap.Stats()
	return l.catches, drops
}
