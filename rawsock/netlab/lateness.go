package netlab

import (
	"math"
	"slices"
	"time"
)

// Lateness says how exact a core has been: sent minus due of each delivered
// packet. Percentiles and the maximum since a mark are exact to 1/16.
type Lateness struct {
	P50, P90, P99, P999, Max time.Duration
	Delivered                uint64
	Dropped                  Drops
}

// Drops counts packets that were not delivered, by cause.
type Drops struct {
	Lost, TTLExceeded, Unreachable uint64
	Malformed                      uint64 // not a whole IP packet, or larger than the link's MTU
	NotUnicast                     uint64 // multicast, link-local and unspecified are ignored
	Overflow                       uint64 // a device had no room or was down
	QueueFull                      uint64 // the queue before a link with a rate had no room
	Silenced                       uint64 // ICMP errors that a router's limit kept back
	Misdirected                    uint64 // a middlebox sent it without a direction, or a Chain around and around
}

// Mark is a moment in the statistics of a core; the zero value is its start.
type Mark struct{ ports []tally }

// Mark returns the present moment. Several may be in use at once.
func (c *Core) Mark() Mark {
	m := Mark{make([]tally, len(c.ports))}
	for i, p := range c.ports {
		m.ports[i] = p.stats.tally()
	}
	return m
}

// Lateness reports how exact the core has been since its start.
func (c *Core) Lateness() Lateness { return c.LatenessSince(Mark{}) }

// LatenessSince reports how exact the core has been since a mark, at the named
// ports or, if none is named, at all. A delivery counts at the port where it
// was made, a drop at the port that it was before or behind.
func (c *Core) LatenessSince(m Mark, ports ...string) Lateness {
	var all tally
	worst := time.Duration(0)
	for i, p := range c.ports {
		if len(ports) > 0 && !slices.Contains(ports, p.Name) {
			continue
		}
		now := p.stats.tally()
		if i < len(m.ports) {
			now.subtract(&m.ports[i])
		}
		all.add(&now)
		worst = max(worst, time.Duration(p.stats.max.Load()))
	}
	return all.lateness(worst)
}

// tally is a copy of statistics.
type tally struct {
	late  [buckets]uint64
	drops [causes]uint64
}

func (t *tally) add(o *tally) {
	for i, n := range o.late {
		t.late[i] += n
	}
	for i, n := range o.drops {
		t.drops[i] += n
	}
}

func (t *tally) subtract(o *tally) {
	for i, n := range o.late {
		t.late[i] -= n
	}
	for i, n := range o.drops {
		t.drops[i] -= n
	}
}

// lateness summarises a tally in which nothing was later than worst.
func (t *tally) lateness(worst time.Duration) Lateness {
	var total uint64
	for _, n := range t.late {
		total += n
	}
	at := func(q float64) time.Duration {
		rank := uint64(math.Ceil(q * float64(total)))
		var seen uint64
		for i, n := range t.late {
			if seen += n; n > 0 && seen >= rank {
				return min(time.Duration(bucketTop(i)), worst)
			}
		}
		return 0
	}
	return Lateness{
		P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1), Delivered: total,
		Dropped: Drops{
			Lost: t.drops[causeLost], TTLExceeded: t.drops[causeTTL], Unreachable: t.drops[causeUnreachable],
			Malformed: t.drops[causeMalformed], NotUnicast: t.drops[causeNotUnicast],
			Overflow: t.drops[causeOverflow], QueueFull: t.drops[causeQueueFull], Silenced: t.drops[causeSilenced],
			Misdirected: t.drops[causeMisdirected],
		},
	}
}
