package netlab

import (
	"slices"
	"time"
)

// Chain is several middleboxes behind each other, the first one next to the
// device: a home's router, then its carrier's. What a box sends outbound the
// next one gets, what it sends inbound the one before; the ends are the device
// and the link. Nil boxes are left out; without any the Chain is nil.
//
// A packet that has crossed 8 times as many boxes as there are, more than a
// hairpin and its answer can, goes around for ever: it is dropped as misdirected.
func Chain(boxes ...Middlebox) Middlebox {
	boxes = slices.DeleteFunc(slices.Clone(boxes), func(m Middlebox) bool { return m == nil })
	switch len(boxes) {
	case 0:
		return nil
	case 1:
		return boxes[0]
	}
	return &chain{boxes: boxes}
}

// chain copies whatever a box returns, since the box may reuse it when it is
// called again on behalf of the same packet.
type chain struct {
	boxes []Middlebox
	work  []step
	bytes []byte     // of the packets in work and out
	out   []Emission // what leaves the chain
}

// step is a packet on its way into a box.
type step struct {
	box        int
	direction  Direction
	start, end int // in bytes
	crossed    int // boxes before
}

// laps bounds how often a packet goes through the chain, and workLimit how many
// packets may come of one, should boxes multiply them.
const (
	laps      = 8
	workLimit = 1024
)

func (c *chain) Next() (first time.Time) {
	for _, b := range c.boxes {
		if next := b.Next(); !next.IsZero() && (first.IsZero() || next.Before(first)) {
			first = next
		}
	}
	return first
}

func (c *chain) Process(packet []byte, d Direction, now time.Time) []Emission {
	c.work, c.bytes, c.out = c.work[:0], c.bytes[:0], c.out[:0]
	switch d {
	case Outbound:
		c.route(0, c.boxes[0].Process(packet, d, now), 1)
	case Inbound:
		last := len(c.boxes) - 1
		c.route(last, c.boxes[last].Process(packet, d, now), 1)
	default:
		c.expire(now)
	}
	for i := 0; i < len(c.work); i++ {
		s := c.work[i]
		packet := c.bytes[s.start:s.end:s.end]
		c.route(s.box, c.boxes[s.box].Process(packet, s.direction, now), s.crossed+1)
	}
	return c.out
}

// expire tells the boxes whose deadlines have come.
func (c *chain) expire(now time.Time) {
	for i, b := range c.boxes {
		if next := b.Next(); !next.IsZero() && !next.After(now) {
			c.route(i, b.Process(nil, DirectionUnknown, now), 0)
		}
	}
}

// route takes what a box sent to the next box or out of the chain.
func (c *chain) route(box int, emissions []Emission, crossed int) {
	for _, m := range emissions {
		start := len(c.bytes)
		c.bytes = append(c.bytes, m.Packet...)
		s := step{box: box + 1, direction: m.Direction, start: start, end: len(c.bytes), crossed: crossed}
		if m.Direction == Inbound {
			s.box = box - 1
		}
		switch inside := s.box >= 0 && s.box < len(c.boxes); {
		case !inside || m.Direction == DirectionUnknown:
			c.leave(s, m.Direction)
		case crossed >= laps*len(c.boxes) || len(c.work) >= workLimit:
			c.leave(s, DirectionUnknown)
		default:
			c.work = append(c.work, s)
		}
	}
}

func (c *chain) leave(s step, d Direction) {
	c.out = append(c.out, Emission{Direction: d, Packet: c.bytes[s.start:s.end:s.end]})
}
