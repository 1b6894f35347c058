package report

import (
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
	Events  []EventRow
}

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
	var picture strings.Builder
	SVG(&picture, h) // a strings.Builder does not fail
	s := Section{
		Title:   fmt.Sprintf("%s and %s", h.A, h.B),
		Badge:   h.Verdict.String() + Established(h),
		Good:    h.Established != nil && *h.Established,
		Picture: template.HTML(picture.String()),
	}
	if h.CrossingMargin != nil {
		s.Table = append(s.Table, [2]string{"margin", Margin(*h.CrossingMargin)})
	}
	for _, n := range h.NAT {
		s.Table = append(s.Table, [2]string{"NAT of " + strings.ToUpper(n.Side.String()), fmt.Sprintf("%s inside, %s outside (%s)", n.Inside, n.Outside, n)})
	}
	if h.Reset != nil {
		s.Table = append(s.Table, [2]string{"reset", fmt.Sprintf("by %s (%s)", h.Reset.By, h.Reset.Confidence)})
	}
	for _, e := range h.Evidence {
		s.List = append(s.List, Item{e.Text, fmt.Sprintf("%s#%d", placeOf(h, e), e.Packet)})
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
	if e.Kind.IsICMP() {
		row.From, row.Ack = e.From.Addr().String(), ""
	}
	return row
}

// AnalysisSections renders a whole analysis: what was read, then each
// handshake.
func AnalysisSections(a captures.Analysis) []Section {
	files := Section{Title: "Files"}
	for _, f := range a.Files {
		value := fmt.Sprintf("%s, %d packets, %d bytes", f.Format, f.Packets, f.Bytes)
		if f.CutShort {
			value += ", cut short"
		}
		files.Table = append(files.Table, [2]string{f.Path, strings.Join(append([]string{value}, f.Problems...), "; ")})
	}
	list := []Section{files}
	for _, h := range a.Handshakes {
		list = append(list, HandshakeSection(h))
	}
	return list
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{.Title}}</title><style>
:root{color-scheme:light dark;--ink:#1b2330;--paper:#fff;--line:#d7dce3;--faint:#5f6b7a;--good:#12713a;--bad:#a3162a}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--paper:#14181f;--line:#333c49;--faint:#9aa5b4;--good:#5fd38d;--bad:#ff8593}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:900px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem;border-top:1px solid var(--line);padding-top:1rem}
.badge{font-size:.85rem;border:1px solid;border-radius:1em;padding:.1em .7em;margin-left:.5em;white-space:nowrap;color:var(--bad)}.badge.good{color:var(--good)}
table{border-collapse:collapse;margin:.6rem 0;width:100%}th,td{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;white-space:nowrap}.src{color:var(--faint);font-size:.85em}svg{max-width:100%;height:auto;display:block;margin:1rem 0}
details{margin:.8rem 0}details table{font:12px ui-monospace,monospace}
@media print{body{margin:0;max-width:none}section{break-inside:avoid}:root{--ink:#000;--paper:#fff}}
</style></head><body><h1>{{.Title}}</h1>
{{range .Sections}}<section>{{if .Title}}<h2>{{.Title}}{{if .Badge}}<span class="badge{{if .Good}} good{{end}}">{{.Badge}}</span>{{end}}</h2>{{end}}
{{range .Text}}<p>{{.}}</p>
{{end}}{{.Picture}}{{if .Table}}<table>{{range .Table}}<tr><th>{{index . 0}}</th><td>{{index . 1}}</td></tr>
{{end}}</table>{{end}}{{if .List}}<ul>{{range .List}}<li>{{.Text}} <span class="src">{{.Source}}</span></li>
{{end}}</ul>{{end}}{{if .Events}}<details><summary>{{len .Events}} packets</summary><table><tr><th>time</th><th>seen in</th><th>from</th><th>kind</th><th>seq</th><th>ack</th><th>ttl</th></tr>
{{range .Events}}<tr><td>{{.At}}</td><td>{{.Place}}</td><td>{{.From}}</td><td>{{.Kind}}</td><td>{{.Seq}}</td><td>{{.Ack}}</td><td>{{.TTL}}</td></tr>
{{end}}</table></details>{{end}}</section>
{{end}}</body></html>
`))
