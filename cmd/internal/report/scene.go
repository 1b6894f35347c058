package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tcppunch/captures"
)

// scene is a ladder without a medium: lanes from A to B, and arrows between
// them on a common, stretched axis of rows.
type scene struct {
	lanes   []lane
	arrows  []arrow
	ticks   []tick // on the first and the last lane, in the order of time
	rows    int
	omitted int // segments that are not drawn
	guessed bool
	untimed bool // some file gives no times: only the order is drawn
}

type lane struct {
	name    string
	address string
}

type arrow struct {
	label  string
	from   captures.Side // the side that it comes from
	syn    bool
	points []point
	lost   bool // it is not known to have arrived
	leaked bool // it passed some place in another name
}

type point struct {
	lane    int
	at      time.Time
	since   time.Duration // the first event
	guessed bool
	hidden  bool // the time is not known, only the order
	row     float64
}

// tick is a departure or arrival that gets a time beside its lane.
type tick struct {
	point
	last bool // lane
}

const (
	maxArrows  = 24
	firstShown = 6 // of too many, these and the last ones are drawn
)

func newScene(h captures.Handshake) scene {
	s := scene{untimed: lacksTimes(h)}
	if s.untimed {
		h = inOrder(h)
	}
	flights := choose(h, &s)
	e := newEnds(h)
	s.lanes = e.lanes(h)
	start := h.Events[0].At
	for _, sightings := range flights {
		a := e.arrow(h, sightings, len(s.lanes)-1)
		for i := range a.points {
			a.points[i].since = a.points[i].at.Sub(start)
			a.points[i].hidden = a.points[i].hidden || s.untimed
			s.guessed = s.guessed || a.points[i].guessed && !a.points[i].hidden
		}
		s.arrows = append(s.arrows, a)
	}
	s.layOut()
	return s
}

func lacksTimes(h captures.Handshake) bool {
	return slices.ContainsFunc(h.Events, func(e captures.Event) bool { return e.At.IsZero() })
}

// inOrder is the handshake with a millisecond between any two sightings, to be
// drawn without times.
func inOrder(h captures.Handshake) captures.Handshake {
	h.Events = slices.Clone(h.Events)
	for i := range h.Events {
		h.Events[i].At = time.UnixMilli(int64(i))
	}
	return h
}

// choose takes the segments of the opening, and of what follows the first of
// each kind from each side.
func choose(h captures.Handshake, s *scene) [][]captures.Event {
	byFlight := map[int][]captures.Event{}
	var order []int
	for _, e := range h.Events {
		if h.A == h.B && e.Side == captures.SideB {
			continue // a socket that connected to itself: the same segments once more
		}
		if byFlight[e.Flight] == nil {
			order = append(order, e.Flight)
		}
		byFlight[e.Flight] = append(byFlight[e.Flight], e)
	}
	type follow struct {
		side captures.Side
		kind captures.Kind
	}
	seen := map[follow]bool{}
	var list [][]captures.Event
	for _, f := range order {
		e := byFlight[f][0]
		key := follow{e.Side, e.Kind}
		if repeats(e.Kind) || !seen[key] && e.Kind != captures.KindFin {
			list = append(list, byFlight[f])
		}
		seen[key] = true
	}
	if len(list) > maxArrows {
		list = append(slices.Clone(list[:firstShown]), list[len(list)-maxArrows+firstShown:]...)
	}
	s.omitted = len(order) - len(list)
	return list
}

func repeats(k captures.Kind) bool {
	switch k {
	case captures.KindAck, captures.KindData, captures.KindFin, captures.KindUnknown:
		return false
	}
	return true
}

// labelOf names a segment with numbers relative to the initial ones.
func labelOf(h captures.Handshake, e captures.Event) string {
	mine, peers := h.ISNA, h.ISNB
	if e.Side == captures.SideB {
		mine, peers = peers, mine
	}
	name := strings.ToUpper(e.Kind.String())
	if e.Kind.IsICMP() {
		return fmt.Sprintf("ICMP %d/%d", e.ICMPType, e.ICMPCode)
	}
	switch e.Kind {
	case captures.KindSyn:
		if mine != nil && *mine != e.Seq {
			return "SYN (other ISN)"
		}
		return "SYN seq=0"
	case captures.KindData:
		return fmt.Sprintf("DATA %d B", e.Length)
	case captures.KindSynAck, captures.KindAck:
		if mine != nil && peers != nil {
			return fmt.Sprintf("%s seq=%d ack=%d", name, int32(e.Seq-*mine), int32(e.Ack-*peers))
		}
	}
	return name
}

func signed(d time.Duration) string {
	if d < 0 {
		return "-" + since(-d, false)
	}
	return "+" + since(d, false)
}

// since prints a time on the ladder's axis.
func since(d time.Duration, guessed bool) string {
	text := fmt.Sprintf("%.3f ms", float64(d)/1e6)
	if d.Abs() >= 100*time.Second {
		text = fmt.Sprintf("%.2f s", d.Seconds())
	} else if d.Abs() >= 10*time.Second {
		text = fmt.Sprintf("%.4f s", d.Seconds())
	}
	if guessed {
		return "~" + text
	}
	return text
}
