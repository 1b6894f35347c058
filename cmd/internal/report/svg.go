package report

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"tcppunch/captures"
)

// The SVG's measures in pixels.
const (
	svgRow = 20
	svgTop = 56
)

// measure is how wide a picture is, and how much of it is for the times beside
// the outer lanes.
type measure struct {
	width, margin, font float64
	class               string
}

var (
	wide   = measure{860, 120, 12, "wide"}
	narrow = measure{390, 78, 9.5, "narrow"} // for telephones
)

// svgStyle adapts to light and dark; a page that embeds the picture may set the
// same variables.
const svgStyle = `
.ladder{font-family:ui-monospace,Menlo,Consolas,monospace;background:var(--back);--ink:#1b2330;--faint:#8a94a3;--a:#0b6bcb;--b:#b4460f;--bad:#c0182b;--back:#fff}
@media (prefers-color-scheme:dark){.ladder{--ink:#e6e9ee;--faint:#7c8796;--a:#5db0ff;--b:#ff9d5c;--bad:#ff6b7a;--back:#14181f}}
@media print{.ladder{--ink:#000;--faint:#666;--a:#0b4f99;--b:#8a330a;--bad:#a00;--back:#fff}}
.ladder text{fill:var(--ink)}.ladder .faint{fill:var(--faint)}
.ladder .lane{stroke:var(--faint);stroke-width:1}.ladder .a{stroke:var(--a);fill:none;stroke-width:1.6}
.ladder .b{stroke:var(--b);fill:none;stroke-width:1.6}.ladder .guess{stroke-dasharray:5 3}
.ladder .head-a{fill:var(--a)}.ladder .head-b{fill:var(--b)}.ladder .lost{stroke:var(--bad);stroke-width:2}
.ladder .cross{fill:none;stroke:var(--bad);stroke-width:1.6}.ladder .leak{stroke:var(--bad);stroke-dasharray:2 3}
.ladder .halo{paint-order:stroke;stroke:var(--back);stroke-width:4px;stroke-linejoin:round}`

// SVG writes the ladder of one handshake as a picture that stands alone or
// inside an HTML page.
func SVG(w io.Writer, h captures.Handshake) error {
	return wide.svg(w, h)
}

func (m measure) svg(w io.Writer, h captures.Handshake) error {
	s := drawing{newScene(h), m}
	var b strings.Builder
	height := svgTop + s.rows*svgRow + 10
	fmt.Fprintf(&b, `<svg class="ladder %s" font-size="%g" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %d" width="%g" height="%d" role="img" aria-label="%s">`,
		m.class, m.font, m.width, height, m.width, height, html.EscapeString("Ladder of the opening: "+h.Verdict.String()))
	fmt.Fprintf(&b, "<style>%s</style>", svgStyle)
	s.svgLanes(&b, height)
	s.svgHeads(&b)
	s.svgNames(&b)
	for _, a := range s.arrows {
		s.svgArrow(&b, a)
	}
	if x, y, ok := s.crossing(); ok {
		fmt.Fprintf(&b, `<circle class="cross" cx="%.1f" cy="%.1f" r="7"><title>the two SYNs cross here</title></circle>`, s.svgX(x), svgY(y))
	}
	for _, t := range s.ticks {
		s.svgTime(&b, t)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// drawing is a scene on paper of some width.
type drawing struct {
	scene
	measure
}

func (s drawing) svgX(lane float64) float64 {
	return s.margin + lane*(s.width-2*s.margin)/float64(len(s.lanes)-1)
}

func svgY(row float64) float64 { return svgTop + (row+0.5)*svgRow }

// letter is how wide a character is, of the fonts in svgStyle 0.6 em.
func (s drawing) letter() float64 { return s.font * 0.62 }

// letters is how many characters fit between lanes that are so many apart.
func (s drawing) letters(lanes float64) int {
	return max(int((s.svgX(lanes)-s.svgX(0))/s.letter())-1, 3)
}

// fitting is a name cut to some room.
func fitting(name string, room int) string {
	if runes := []rune(name); len(runes) > room {
		return string(runes[:room-1]) + "…"
	}
	return name
}

// svgNames writes the names of the lanes, in two rows in turns where one has no
// room for them.
func (s drawing) svgNames(b *strings.Builder) {
	rows, room := [2]int{38, 38}, s.letters(1)
	if slices.ContainsFunc(s.lanes, func(l lane) bool { return utf8.RuneCountInString(l.name) > room }) {
		rows, room = [2]int{34, 47}, s.letters(2)
	}
	for i, l := range s.lanes {
		fmt.Fprintf(b, `<text class="faint" x="%.1f" y="%d" text-anchor="middle">%s</text>`, s.svgX(float64(i)), rows[i%2], html.EscapeString(fitting(l.name, room)))
	}
}

func (s drawing) svgLanes(b *strings.Builder, height int) {
	for i := range s.lanes {
		x := s.svgX(float64(i))
		fmt.Fprintf(b, `<line class="lane" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x, x, svgTop-4, height-6)
	}
}

// svgHeads writes the addresses of the ends above their lanes, one below the
// other where they would meet, and within the picture.
func (s drawing) svgHeads(b *strings.Builder) {
	last := len(s.lanes) - 1
	heads := [2]string{"A " + s.lanes[0].address, "B " + s.lanes[last].address}
	rows := [2]int{20, 20}
	if s.letter()*float64(len(heads[0])+len(heads[1])+2) > s.width {
		rows = [2]int{11, 22}
	}
	for i, head := range heads {
		half := s.letter()*float64(len(head))/2 + 4
		x := min(max(s.svgX(float64(i*last)), half), s.width-half)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle" font-weight="bold">%s</text>`, x, rows[i], html.EscapeString(head))
	}
}

func (s drawing) svgArrow(b *strings.Builder, a arrow) {
	class, direction := "a", 1.0
	if a.from == captures.SideB {
		class, direction = "b", -1
	}
	for i := 1; i < len(a.points); i++ {
		p, q := a.points[i-1], a.points[i]
		guess := ""
		switch {
		case a.leaked:
			guess = " leak"
		case p.guessed || q.guessed:
			guess = " guess"
		}
		fmt.Fprintf(b, `<line class="%s%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, guess,
			s.svgX(float64(p.lane)), svgY(p.row), s.svgX(float64(q.lane)), svgY(q.row))
	}
	first, last := a.points[0], a.points[len(a.points)-1]
	x, y := s.svgX(float64(last.lane)), svgY(last.row)
	if a.lost {
		end := x + direction*(s.svgX(1)-s.svgX(0))*0.3
		fmt.Fprintf(b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x, y, end, y+6)
		fmt.Fprintf(b, `<path class="lost" d="M%.1f %.1fl8 8m0-8l-8 8"/>`, end-4, y+2)
	} else {
		fmt.Fprintf(b, `<path class="head-%s" d="M%.1f %.1fl%.1f -4v8z"/>`, class, x, y, -direction*9)
	}
	anchor := "start"
	if direction < 0 {
		anchor = "end"
	}
	above := -4.0
	if first.lane != 0 && first.lane != len(s.lanes)-1 { // below, where no arrow ends
		above = 12
	}
	fmt.Fprintf(b, `<text class="halo" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, s.svgX(float64(first.lane))+direction*8, svgY(first.row)+above, anchor, html.EscapeString(a.label))
}

func (s drawing) svgTime(b *strings.Builder, t tick) {
	if t.hidden || !t.last && t.lane != 0 {
		return
	}
	x, anchor := s.svgX(float64(t.lane))-8, "end"
	if t.last {
		x, anchor = s.svgX(float64(t.lane))+8, "start"
	}
	fmt.Fprintf(b, `<text class="faint" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, svgY(t.row)+4, anchor, since(t.since, t.guessed))
}
