package report

import (
	"slices"
	"strings"
	"time"

	"tcppunch/captures"
)

// ends says how far the two ends are from the outermost vantage points. An end
// that was not captured gets a lane of its own, whose times are reckoned from
// how long the end took to answer.
type ends struct {
	trips     [3]trip // by Side
	virtual   [3]bool // the end has a lane that is no vantage point's
	outermost [3]int  // vantage point nearest to the end
}

// trip is the way from a vantage point to an end.
type trip struct {
	half  time.Duration
	known bool
}

// nearby is an end that answers so fast that the capture was taken on it.
const nearby = 500 * time.Microsecond

func newEnds(h captures.Handshake) ends {
	e := ends{outermost: [3]int{captures.SideB: len(h.Vantages) - 1}}
	for _, side := range []captures.Side{captures.SideA, captures.SideB} {
		e.trips[side] = tripTo(h, side, e.outermost[side])
		e.virtual[side] = e.trips[side].half > 0
	}
	a, b := e.trips[captures.SideA], e.trips[captures.SideB]
	if len(h.Vantages) == 1 && !e.virtual[captures.SideA] && !e.virtual[captures.SideB] {
		atB := b.known && !a.known
		e.virtual[captures.SideA], e.virtual[captures.SideB] = atB, !atB
	}
	return e
}

// tripTo is half of the least time in which a side answered a SYN or SYN-ACK
// that passed the vantage point.
func tripTo(h captures.Handshake, side captures.Side, vantage int) trip {
	least := time.Duration(-1)
	for _, e := range h.Events {
		if e.Side != side.Other() || e.Vantage != vantage {
			continue
		}
		if answer, ok := answerTo(h, e); ok && (least < 0 || answer.At.Sub(e.At) < least) {
			least = answer.At.Sub(e.At)
		}
	}
	switch {
	case least < 0:
		return trip{}
	case least < nearby:
		return trip{0, true}
	}
	return trip{least / 2, true}
}

// answerTo finds the immediate answer to a SYN or SYN-ACK at the same place.
func answerTo(h captures.Handshake, e captures.Event) (captures.Event, bool) {
	if e.Kind != captures.KindSyn && e.Kind != captures.KindSynAck {
		return captures.Event{}, false
	}
	for _, x := range h.Events {
		later := x.At.After(e.At) || x.At.Equal(e.At) && x.Packet > e.Packet
		plain := x.Kind != captures.KindSynAck || e.Kind == captures.KindSyn
		if x.Vantage == e.Vantage && x.Side == e.Side.Other() && plain && later && x.Ack-e.Seq-1 <= uint32(e.Length) {
			return x, true
		}
	}
	return captures.Event{}, false
}

func (e ends) lanes(h captures.Handshake) []lane {
	var list []lane
	if e.virtual[captures.SideA] {
		list = append(list, lane{})
	}
	names := distinct(h.Vantages)
	if len(names) == 1 {
		names[0] = "captured here"
	}
	for _, name := range names {
		list = append(list, lane{name: name})
	}
	if e.virtual[captures.SideB] {
		list = append(list, lane{})
	}
	list[0].address, list[len(list)-1].address = h.A.String(), h.B.String()
	return list
}

func (e ends) arrow(h captures.Handshake, sightings []captures.Event, lastLane int) arrow {
	first := sightings[0]
	a := arrow{label: labelOf(h, first), from: first.Side, syn: first.Kind == captures.KindSyn}
	if first.Kind.IsICMP() {
		a.from = first.Quotes.Other()
	}
	shift := 0
	if e.virtual[captures.SideA] {
		shift = 1
	}
	for _, x := range sightings {
		a.leaked = a.leaked || x.Leaked
		a.points = append(a.points, point{lane: x.Vantage + shift, at: x.At})
	}
	slices.SortStableFunc(a.points, func(x, y point) int {
		if a.from == captures.SideB {
			return y.lane - x.lane
		}
		return x.lane - y.lane
	})
	e.extend(h, &a, sightings, lastLane)
	if a.leaked {
		a.label += " leaks"
	}
	return a
}

// extend adds departure and arrival at ends that were not captured.
func (e ends) extend(h captures.Handshake, a *arrow, sightings []captures.Event, lastLane int) {
	from, to := a.from, a.from.Other()
	start, end := 0, lastLane
	if from == captures.SideB {
		start, end = end, start
	}
	near, okNear := at(sightings, e.outermost[from])
	far, okFar := at(sightings, e.outermost[to])
	if e.virtual[from] && okNear {
		t := e.trips[from]
		a.points = slices.Insert(a.points, 0, point{lane: start, at: near.At.Add(-t.half), guessed: true, hidden: !t.known})
	}
	answer, answered := captures.Event{}, false
	if okFar {
		answer, answered = answerTo(h, far)
	}
	if e.virtual[to] && okFar && (answered || far.Kind != captures.KindSyn) {
		t := e.trips[to]
		arrival := far.At.Add(t.half)
		if answered { // it left when this arrived
			arrival = answer.At.Add(-t.half)
		}
		a.points = append(a.points, point{lane: end, at: arrival, guessed: true, hidden: !t.known})
	}
	a.lost = a.points[len(a.points)-1].lane != end
}

func at(sightings []captures.Event, vantage int) (captures.Event, bool) {
	i := slices.IndexFunc(sightings, func(x captures.Event) bool { return x.Vantage == vantage })
	if i < 0 {
		return captures.Event{}, false
	}
	return sightings[i], true
}

// distinct shortens names to what tells them apart: without the ending that all
// share, and without what all begin with, up to a separator. They are escaped:
// a capture may call its interfaces anything.
func distinct(list []captures.Vantage) []string {
	names := make([]string, len(list))
	for i, v := range list {
		names[i] = v.Name
	}
	for _, suffix := range []string{".pcapng", ".pcap"} {
		if all(names, func(n string) bool { return strings.HasSuffix(n, suffix) && n != suffix }) {
			for i := range names {
				names[i] = strings.TrimSuffix(names[i], suffix)
			}
		}
	}
	shared := names[0]
	for _, n := range names {
		for !strings.HasPrefix(n, shared) {
			shared = shared[:len(shared)-1]
		}
	}
	cut := strings.LastIndexAny(shared, "/\\._-") + 1
	if len(names) > 1 && all(names, func(n string) bool { return len(n) > cut }) {
		for i := range names {
			names[i] = names[i][cut:]
		}
	}
	for i, n := range names {
		names[i] = Escape(n)
	}
	return names
}

func all(names []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(names, func(n string) bool { return !holds(n) })
}
