package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tcppunch/captures"
)

// Mermaid writes one handshake as a Mermaid sequence diagram
// (https://mermaid.js.org/syntax/sequenceDiagram.html): a participant for each
// lane, a message for each segment, with departure and arrival. Messages there
// are level, so that SYNs under way together stand in a par block.
func Mermaid(w io.Writer, h captures.Handshake) error {
	s := newScene(h)
	var b strings.Builder
	b.WriteString("sequenceDiagram\n")
	for i, l := range s.lanes {
		fmt.Fprintf(&b, "    participant %s as %s\n", mermaidID(i), mermaidText(s.laneTitle(i, l)))
	}
	crossed := s.crossed()
	for i, a := range s.arrows {
		switch {
		case len(crossed) == 2 && i == crossed[0]:
			fmt.Fprintf(&b, "    par the SYNs cross\n        %s\n    and\n        %s\n    end\n", s.mermaidArrow(a), s.mermaidArrow(s.arrows[crossed[1]]))
		case slices.Contains(crossed, i):
		default:
			fmt.Fprintf(&b, "    %s\n", s.mermaidArrow(a))
		}
	}
	ends := mermaidID(0) + "," + mermaidID(len(s.lanes)-1)
	fmt.Fprintf(&b, "    Note over %s: %s\n", ends, mermaidText(h.Verdict.String()+Established(h)))
	if h.CrossingMargin != nil {
		fmt.Fprintf(&b, "    Note over %s: %s\n", ends, mermaidText(Margin(*h.CrossingMargin)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func mermaidID(lane int) string { return fmt.Sprintf("L%d", lane) }

// laneTitle is what stands above a lane.
func (s scene) laneTitle(i int, l lane) string {
	title := l.name
	if l.address != "" {
		side := "A"
		if i > 0 {
			side = "B"
		}
		title = strings.TrimSpace(side + " " + l.address + " " + l.name)
	}
	if title == "" {
		return "elsewhere"
	}
	return title
}

// mermaidArrow is one message. What got lost ends in a cross, what leaked is
// dashed.
func (s scene) mermaidArrow(a arrow) string {
	first, last := a.points[0], a.points[len(a.points)-1]
	line, to := "->>", last.lane
	switch {
	case a.lost:
		line = "-x"
		if to += 1; a.from == captures.SideB {
			to -= 2
		}
	case a.leaked:
		line = "-->>"
	}
	text := a.label
	if !first.hidden {
		text += fmt.Sprintf(" (%s", since(first.since, first.guessed))
		if !a.lost && !last.hidden && last.since != first.since {
			text += " to " + since(last.since, last.guessed)
		}
		text += ")"
	}
	return fmt.Sprintf("%s%s%s: %s", mermaidID(first.lane), line, mermaidID(max(0, min(len(s.lanes)-1, to))), mermaidText(text))
}

// crossed are the two SYNs that were under way together, if any.
func (s scene) crossed() []int {
	for i, a := range s.arrows {
		for j, b := range s.arrows[:i] {
			if a.syn && b.syn && a.from != b.from && overlap(a, b) {
				return []int{j, i}
			}
		}
	}
	return nil
}

func overlap(a, b arrow) bool {
	begin, end := func(x arrow) time.Duration { return x.points[0].since }, func(x arrow) time.Duration { return x.points[len(x.points)-1].since }
	return !a.lost && !b.lost && begin(a) < end(b) && begin(b) < end(a)
}

// mermaidText makes text that no token of the grammar ends: entities stand for
// the characters that do.
func mermaidText(s string) string {
	var b strings.Builder
	for _, r := range Escape(s) {
		switch r {
		case '#', ';', '<', '>', '&', '"', '{', '}', '\\', '`':
			fmt.Fprintf(&b, "#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
