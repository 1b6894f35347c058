package report

import (
	_ "embed" // the page's template
	"fmt"
	"html/template"
	"io"
	"strings"

	"tcppunch/captures"
)

// Section is one part of an HTML page. All its fields are optional; texts are
// escaped, and Picture is trusted: it must come from SVG.
type Section struct {
	Title   string
	Badge   string // a word or two beside the title
	Good    bool   // the badge is good news
	Text    []string
	Table   [][2]string // name and value
	Picture template.HTML
	List    []Item
	Limits  []string // what is not known
	Events  []EventRow

	findings []finding
	timeline *timeline
}

// Findings are for the template, which sees no unexported fields.
func (s Section) Findings() []finding { return s.findings }

// Timeline is for the template, too.
func (s Section) Timeline() *timeline { return s.timeline }

// Item is a sentence and where it is from.
type Item struct{ Text, Source string }

// EventRow is one line of a table of packets.
type EventRow struct{ At, Place, From, Kind, Seq, Ack, TTL string }

// HTML writes a page that loads nothing from elsewhere, prints well, and
// follows the reader's choice of light or dark.
func HTML(w io.Writer, title string, sections ...Section) error {
	err := page.Execute(w, map[string]any{"Title": title, "Sections": sections})
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// HandshakeSection renders one handshake for HTML.
func HandshakeSection(h captures.Handshake) Section {
	var picture strings.Builder // does not fail
	wide.svg(&picture, h)
	narrow.svg(&picture, h)
	s := Section{
		Title:    fmt.Sprintf("%s and %s", h.A, h.B),
		Badge:    h.Verdict.String() + Established(h),
		Good:     h.Established != nil && *h.Established,
		Picture:  template.HTML(picture.String()),
		Limits:   h.Limits,
		findings: findings(h),
		timeline: newTimeline(h),
	}
	for _, e := range h.Evidence {
		s.List = append(s.List, Item{Escape(e.Text), sourceOf(h, e.File, e.Packet)})
	}
	names := distinct(h.Vantages)
	for _, e := range h.Events {
		s.Events = append(s.Events, eventRow(h, e, names[e.Vantage]))
	}
	return s
}

func eventRow(h captures.Handshake, e captures.Event, place string) EventRow {
	row := EventRow{
		At: since(e.At.Sub(h.Events[0].At), false), Place: fmt.Sprintf("%s#%d", place, e.Packet),
		From: e.From.String(), Kind: e.Kind.String(), Seq: fmt.Sprint(e.Seq), Ack: fmt.Sprint(e.Ack), TTL: fmt.Sprint(e.TTL),
	}
	if e.At.IsZero() || h.Events[0].At.IsZero() {
		row.At = "–"
	}
	if e.Kind.IsICMP() {
		row.From, row.Ack = e.From.Addr().String(), ""
	}
	return row
}

// maxSections bounds how many handshakes a page shows in full.
const maxSections = 100

// AnalysisSections renders a whole analysis: what was read, then each
// handshake, up to a hundred.
func AnalysisSections(a captures.Analysis) []Section {
	files := Section{Title: "Files"}
	for i, f := range a.Files {
		value := fmt.Sprintf("%s, %d packets, %d bytes", f.Format, f.Packets, f.Bytes)
		if f.CutShort {
			value += ", cut short"
		}
		if text := clockOf(a, i); text != "" {
			value += "; clock: " + text
		}
		files.Table = append(files.Table, [2]string{Escape(f.Path), strings.Join(append([]string{value}, f.Problems...), "; ")})
	}
	list := []Section{files}
	for _, h := range a.Handshakes[:min(len(a.Handshakes), maxSections)] {
		list = append(list, HandshakeSection(h))
	}
	if n := len(a.Handshakes) - maxSections; n > 0 {
		list = append(list, Section{Title: "And more", Text: []string{fmt.Sprintf("%d more openings are not shown here. --host and --port choose.", n)}})
	}
	return list
}

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))
