package main

import (
	"context"
	"net/netip"
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

	ports  map[netip.AddrPort]bool // from which the segments leave
	left   bool                    // one of them has
	strays int                     // packets that are of none of these ports
}

func listenForReplies(tap *rawsock.Tap, segments []rawsock.Segment) *craftListener {
	l := newCraftListener(tap, segments)
	go l.run()
	return l
}

func newCraftListener(tap *rawsock.Tap, segments []rawsock.Segment) *craftListener {
	l := &craftListener{tap: tap, segments: segments, done: make(chan struct{}), complete: make(chan struct{}), waiting: map[int]bool{}, seen: map[string]int{}, ports: map[netip.AddrPort]bool{}}
	for i, s := range segments {
		l.waiting[i], l.ports[s.From] = true, true
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
		l.hear(f.Interface, networkPacket(f.Data, l.tap.LinkType()), f.Time)
	}
}

// hear keeps what belongs to a segment, and a little of what the peer's host
// sends otherwise.
func (l *craftListener) hear(onto int, packet []byte, at time.Time) {
	if first, again := l.seen[string(packet)]; again && first != onto {
		return
	}
	reply, err := rawsock.ParseReply(packet)
	if err != nil || len(l.catches) >= craftMaxCatches || !l.wants(reply) {
		return
	}
	l.seen[string(packet)] = onto
	l.keep(craftCatch{at: at, reply: reply.Clone()})
}

// wants chooses. What is of none of the segments' ports counts from when the first
// one has left: before, nothing can be the answer to it.
func (l *craftListener) wants(r rawsock.Reply) bool {
	from, to := r.Segment.From, r.Segment.To
	if l.ports[from] || l.ports[to] {
		l.left = l.left || l.ports[from] && r.ICMP == nil
		return true
	}
	if r.ICMP != nil || !l.left || from.Addr() != l.segments[0].To.Addr() || l.strays == craftMaxStrays {
		return false
	}
	l.strays++
	return true
}

const (
	// craftMaxCatches bounds what is kept of a peer that does not stop answering.
	craftMaxCatches = 100_000
	// craftMaxStrays bounds what is kept of a connection that goes on beside.
	craftMaxStrays = 100
)

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
