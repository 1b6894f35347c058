package report

import (
	"fmt"
	"path/filepath"
	"strings"

	"tcppunch/captures"
)

// finding is a line of what was found: a name, a text, and what it rests on.
type finding struct {
	Name, Text string
	Reasons    []Item
}

// findings are what a handshake's verdict is followed by, in text and on pages
// alike.
func findings(h captures.Handshake) []finding {
	var list []finding
	if h.CrossingMargin != nil {
		list = append(list, finding{Name: "margin", Text: Margin(*h.CrossingMargin)})
	}
	for _, n := range h.NAT {
		list = append(list, natFinding(h, n))
	}
	if h.Reset != nil {
		list = append(list, originFinding(h, "reset", "", *h.Reset))
	}
	if h.ICMP != nil {
		list = append(list, originFinding(h, "icmp", fmt.Sprintf("%s, from %s, ", h.ICMP.Meaning, h.ICMP.Reporter), h.ICMP.Origin))
	}
	for _, l := range h.Leaks {
		text := fmt.Sprintf("%s of %s left as %s instead of %s, seen first at %s (%d)", strings.ToUpper(l.Kind.String()), sideName(l.Side), l.From, l.Instead, laneName(h, l.Vantage), l.Count)
		list = append(list, finding{Name: "leak", Text: text})
	}
	return list
}

func natFinding(h captures.Handshake, n captures.NAT) finding {
	what := fmt.Sprintf("%s -> %s (%s)", n.Inside, n.Outside, n)
	if n.Inside == n.Outside {
		what = fmt.Sprintf("%s keeps its name (%s)", n.Inside, n)
	}
	return finding{Name: "nat of " + strings.ToLower(sideName(n.Side)), Text: what + ", " + span(h, n.Between)}
}

func originFinding(h captures.Handshake, name, prefix string, o captures.Origin) finding {
	by := "a box on the path"
	if o.By != "path" {
		by = strings.ToUpper(o.By) + " itself"
	}
	f := finding{Name: name, Text: fmt.Sprintf("%sby %s (%s, %+d)", prefix, by, o.Confidence, o.Score)}
	if o.Between != nil {
		f.Text += ", " + span(h, *o.Between)
	}
	for _, r := range o.Reasons {
		f.Reasons = append(f.Reasons, Item{Text: fmt.Sprintf("%+d: %s", r.Weight, r.Text), Source: sourceOf(h, r.File, r.Packet)})
	}
	return f
}

func sideName(s captures.Side) string { return strings.ToUpper(s.String()) }

func span(h captures.Handshake, between [2]int) string {
	return fmt.Sprintf("between %s and %s", laneName(h, between[0]), laneName(h, between[1]))
}

// laneName is the short name of a vantage point.
func laneName(h captures.Handshake, vantage int) string {
	if vantage < 0 || vantage >= len(h.Vantages) {
		return "elsewhere"
	}
	return distinct(h.Vantages)[vantage]
}

// sourceOf names a packet: the vantage point where there are several, and its
// number in the file.
func sourceOf(h captures.Handshake, file, packet int) string {
	return fmt.Sprintf("%s#%d", placeOf(h, file, packet), packet)
}

// ClockLines say how the clocks of several files compare; none where there is
// nothing to compare.
func ClockLines(a captures.Analysis) []string {
	var list []string
	for i, f := range a.Files {
		if text := clockOf(a, i); text != "" {
			list = append(list, filepath.Base(f.Path)+": "+text)
		}
	}
	return list
}

func clockOf(a captures.Analysis, file int) string {
	if file >= len(a.Clocks) || len(a.Files) < 2 {
		return ""
	}
	c := a.Clocks[file]
	switch {
	case file == 0:
		return "the clock that the others are compared with"
	case !c.Consistent:
		return "its clock drifted, or was set, against the first file's; each opening is aligned by itself"
	case c.Offset != nil:
		return fmt.Sprintf("%s, ± %s for certain, from %d packets%s", signed(*c.Offset), since(*c.Bound, false), c.Packets, applied(c))
	case c.AtLeast != nil:
		return fmt.Sprintf("at least %s, from %d packets in one direction%s", signed(*c.AtLeast), c.Packets, applied(c))
	case c.AtMost != nil:
		return fmt.Sprintf("at most %s, from %d packets in one direction%s", signed(*c.AtMost), c.Packets, applied(c))
	case c.Packets > 0:
		return "not known: what it shares with the others passed in one direction, and nothing tells which file is nearer to the sender"
	}
	return "not known: it shares no packet with the others"
}

func applied(c captures.Clock) string {
	if c.Applied == 0 {
		return "; taken as equal"
	}
	return "; all times shifted by " + signed(c.Applied)
}
