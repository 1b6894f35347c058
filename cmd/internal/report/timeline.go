package report

import (
	"fmt"
	"strings"
	"time"

	"tcppunch/captures"
)

// timeline is when each segment was seen at each place, on a true scale of
// time. A page shows it without a script: the zoom is a choice of widths.
type timeline struct {
	ID    string
	Rows  []timelineRow
	Ticks []timelineTick
}

type timelineRow struct {
	Name string
	Dots []dot
}

// dot is one sighting, at a share of the width in percent.
type dot struct {
	At    float64
	Class string // a, b, or box; and syn, rst or other
	Title string
}

type timelineTick struct {
	At    float64
	Label string
	Zoom  int // the least zoom at which there is room for it
	Odd   bool
	Last  bool
}

// zooms are the widths on offer, as multiples of the page's.
var zooms = []int{1, 8, 64}

// maxDots bounds what a timeline shows of a long exchange.
const maxDots = 600

func newTimeline(h captures.Handshake) *timeline {
	first, last := h.Events[0].At, h.Events[len(h.Events)-1].At
	span := last.Sub(first)
	if span <= 0 || lacksTimes(h) {
		return nil
	}
	t := &timeline{ID: fmt.Sprintf("t%d-%d", h.Events[0].File, h.Events[0].Packet)}
	names := distinct(h.Vantages)
	if len(names) == 1 {
		names[0] = "here"
	}
	for _, name := range names {
		t.Rows = append(t.Rows, timelineRow{Name: name})
	}
	for _, e := range h.Events[:min(len(h.Events), maxDots)] {
		row := &t.Rows[e.Vantage]
		title := fmt.Sprintf("%s: %s %s#%d", since(e.At.Sub(first), false), labelOf(h, e), row.Name, e.Packet)
		row.Dots = append(row.Dots, dot{At: share(e.At.Sub(first), span), Class: dotClass(e), Title: title})
	}
	widest := zooms[len(zooms)-1]
	for i := 0; i <= 4*widest; i++ {
		zoom := widest
		for _, z := range zooms {
			if i%(widest/z) == 0 {
				zoom = z
				break
			}
		}
		at := span * time.Duration(i) / time.Duration(4*widest)
		t.Ticks = append(t.Ticks, timelineTick{At: share(at, span), Label: since(at, false), Zoom: zoom, Odd: i/widest%2 == 1, Last: i == 4*widest})
	}
	return t
}

func share(at, span time.Duration) float64 { return 100 * float64(at) / float64(span) }

func dotClass(e captures.Event) string {
	side := "box"
	if e.Side != captures.SideUnknown {
		side = strings.ToLower(sideName(e.Side))
	}
	switch e.Kind {
	case captures.KindSyn, captures.KindSynAck:
		return side + " syn"
	case captures.KindRst, captures.KindRstAck:
		return side + " rst"
	}
	return side
}
