package netlab

import "time"

// flight is a packet on its way, due at a port.
type flight struct {
	due      time.Duration // CLOCK_MONOTONIC
	seq      uint64        // keeps the order of packets due at the same time
	id       uint64
	from, to int  // ports; from is -1 for what a hop sent
	waits    bool // due at the link towards the port, which it has still to cross
	buffer   []byte
}

func (f flight) before(g flight) bool {
	return f.due < g.due || f.due == g.due && f.seq < g.seq
}

// queue is a binary heap, the earliest flight first.
type queue []flight

func (q *queue) push(f flight) {
	h := append(*q, f)
	i := len(h) - 1
	for i > 0 && f.before(h[(i-1)/2]) {
		h[i] = h[(i-1)/2]
		i = (i - 1) / 2
	}
	h[i] = f
	*q = h
}

func (q *queue) pop() flight {
	h := *q
	first, last := h[0], h[len(h)-1]
	h[len(h)-1] = flight{}
	h = h[:len(h)-1]
	for i := 0; len(h) > 0; {
		child := 2*i + 1
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if child >= len(h) || !h[child].before(last) {
			h[i] = last
			break
		}
		h[i] = h[child]
		i = child
	}
	*q = h
	return first
}
