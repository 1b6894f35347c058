package lab

import (
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"tcppunch/cmd/internal/report"
)

// WriteHTML writes the matrix as a page that stands alone: a heatmap whose cells
// lead to what was measured, what was expected, and the ladder of one exchange.
// It needs neither scripts nor the network.
func (m Matrix) WriteHTML(w io.Writer) error {
	page := matrixPage{Matrix: m, Took: time.Duration(m.Summary.Took).Round(time.Second), OneWay: time.Duration(m.Delay)}
	index := map[[2]string]int{}
	for i, c := range m.Cells {
		index[[2]string{c.A, c.B}] = i
		page.Details = append(page.Details, detailOf(i, c))
	}
	for row, a := range m.Profiles {
		line := matrixRow{Number: row + 1, Name: a}
		for _, b := range m.Profiles[:row+1] {
			i, ok := index[[2]string{b, a}]
			if !ok {
				i, ok = index[[2]string{a, b}]
			}
			square := matrixSquare{} // of a pair that was left out
			if ok {
				square = squareOf(i, m.Cells[i])
			}
			line.Cells = append(line.Cells, square)
		}
		page.Rows = append(page.Rows, line)
	}
	page.Causes = confusionTable(m.Summary)
	if err := matrixTemplate.Execute(w, page); err != nil {
		return fmt.Errorf("write the matrix: %w", err)
	}
	return nil
}

type matrixPage struct {
	Matrix
	Took    time.Duration
	OneWay  time.Duration
	Rows    []matrixRow
	Details []matrixDetail
	Causes  []confusionRow
}

type matrixRow struct {
	Number int
	Name   string
	Cells  []matrixSquare
}

// matrixSquare is a cell of the heatmap.
type matrixSquare struct {
	Index int
	Text  string
	Title string
	Color template.CSS
	Odd   bool // it does not agree with theory
}

type matrixDetail struct {
	Index   int
	Cell    MatrixCell
	Verdict string
	Ladder  template.HTML
}

type confusionRow struct {
	Truth  string
	Recall string
	Said   string
}

func squareOf(i int, c MatrixCell) matrixSquare {
	s := matrixSquare{Index: i, Text: "–", Color: "#888", Odd: !c.Agrees}
	if c.Summary.Success != nil {
		s.Text = fmt.Sprintf("%.0f", 100**c.Summary.Success)
		s.Color = heat(*c.Summary.Success)
	}
	s.Title = fmt.Sprintf("%s × %s: %d of %d connected, expected %.3g", c.A, c.B, c.Summary.Established, c.Summary.Valid, c.Expected)
	return s
}

// heat runs from red over yellow to green, dark enough for white digits.
func heat(success float64) template.CSS {
	return template.CSS(fmt.Sprintf("hsl(%.0f 62%% 32%%)", 135*success))
}

func detailOf(i int, c MatrixCell) matrixDetail {
	d := matrixDetail{Index: i, Cell: c}
	if c.Shown != nil {
		var picture strings.Builder
		report.SVG(&picture, *c.Shown) // a strings.Builder does not fail
		d.Ladder, d.Verdict = template.HTML(picture.String()), c.Shown.Verdict.String()
	}
	return d
}

func confusionTable(s MatrixSummary) []confusionRow {
	var rows []confusionRow
	for _, truth := range slices.Sorted(maps.Keys(s.Confusion)) {
		var said []string
		for _, cause := range slices.Sorted(maps.Keys(s.Confusion[truth])) {
			said = append(said, fmt.Sprintf("%s %d", cause, s.Confusion[truth][cause]))
		}
		rows = append(rows, confusionRow{truth, fmt.Sprintf("%.0f %%", 100*s.Recall[truth]), strings.Join(said, ", ")})
	}
	return rows
}

// matrixStyle is that of every heatmap.
const matrixStyle = `
:root{color-scheme:light dark;--ink:#1b2330;--paper:#fff;--line:#d7dce3;--faint:#5f6b7a}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--paper:#14181f;--line:#333c49;--faint:#9aa5b4}}
body{font:14px/1.4 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:.6rem auto;max-width:1240px;padding:0 .8rem}
h1{font-size:1.15rem;margin:.2rem 0}h2{font-size:1rem;margin:1.2rem 0 .3rem}p{margin:.3rem 0}
.top{display:flex;gap:1.4rem;align-items:flex-start;flex-wrap:wrap}
.map{border-collapse:separate;border-spacing:1px;font-size:11px;line-height:1}
.map th{font-weight:500;text-align:right;padding:0 .4em 0 0;white-space:nowrap}.map thead th,.map tfoot th{text-align:center;padding:0;color:var(--faint)}
.map td{padding:0}.map a{display:block;width:26px;height:22px;line-height:22px;text-align:center;color:#fff;text-decoration:none;border-radius:2px}
.map a:hover,.map a:focus{outline:2px solid var(--ink)}.map a.odd{box-shadow:inset 0 0 0 2px #ffd23e}
.side{flex:1 1 300px;min-width:290px}.side table,.facts{border-collapse:collapse}.side td,.side th,.facts td,.facts th{text-align:left;vertical-align:top;padding:.12rem .7rem .12rem 0;border-bottom:1px solid var(--line);font-weight:400}
.pair{border-top:1px solid var(--line);padding:.2rem 0}.pair>a{color:inherit;text-decoration:none;display:block}.pair b{font-weight:600}
.pair>div{display:none}.pair:target>div{display:block}.pair:target{background:color-mix(in srgb,var(--line) 25%,transparent);padding:.5rem}
@media print{.pair>div{display:block}}
.faint{color:var(--faint)}svg{max-width:900px;width:100%;height:auto;display:block;margin:.4rem 0}
`

var matrixTemplate = template.Must(template.New("matrix").Funcs(template.FuncMap{
	"percent": func(f *float64) string {
		if f == nil {
			return "–"
		}
		return fmt.Sprintf("%.1f %%", 100**f)
	},
	"rerun":    func(f float64) float64 { return 100 * f },
	"interval": func(i [2]float64) string { return fmt.Sprintf("%.1f to %.1f %%", 100*i[0], 100*i[1]) },
	"score":    func(f *float64) string { return fmt.Sprintf("%.4f", *f) },
	"tally":    tally,
}).Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>tcppunch lab matrix</title><style>` + matrixStyle + `</style></head><body><h1>Who connects with whom: {{len .Profiles}} networks, {{.Summary.Cells}} pairs, {{.Summary.Valid}} meetings</h1>
<div class="top"><table class="map"><thead><tr><th></th>{{range $i, $p := .Rows}}<th>{{$p.Number}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}<tr><th>{{.Name}} {{.Number}}</th>{{range .Cells}}<td>{{if .Text}}<a href="#c{{.Index}}" title="{{.Title}}" style="background:{{.Color}}"{{if .Odd}} class="odd"{{end}}>{{.Text}}</a>{{end}}</td>{{end}}</tr>
{{end}}</tbody></table>
<div class="side"><p>A number is the percentage of meetings that connected, {{.OneWay}} one way, at most {{.Budget}} SYNs. A yellow frame: not what theory expected. Follow a cell to its exchange, which opens below.</p>
<table><tr><th>every pair alike</th><td>{{percent .Summary.Success}}</td><td class="faint">{{interval .Summary.CI95}}</td></tr>
{{range .Summary.Weighted}}{{if .Success}}<tr><th>{{.Population}}</th><td>{{percent .Success}}</td><td class="faint">{{interval .CI95}}</td></tr>{{end}}
{{end}}</table><h2>Theory</h2><p>Certain of {{.Summary.Certain}} cells, right in {{.Summary.CertainRight}}{{with .Summary.Brier}}; Brier score {{score .}}{{end}}.</p>
{{if .Causes}}<h2>Failures: what it was, and what the tool said</h2><table><tr><th>truly</th><th>named</th><th>said</th></tr>{{range .Causes}}<tr><td>{{.Truth}}</td><td>{{.Recall}}</td><td>{{.Said}}</td></tr>{{end}}</table>{{end}}
<p class="faint">{{.Summary.Trials}} meetings in {{.Took}}; the machine was too slow for {{printf "%.1f" (rerun .Summary.Rerun)}} % of them, which were run again.</p></div></div>
<h2>Pairs</h2>
{{range .Details}}<section class="pair" id="c{{.Index}}"><a href="#c{{.Index}}"><b>{{.Cell.A}} × {{.Cell.B}}</b>: {{.Cell.Summary.Established}} of {{.Cell.Summary.Valid}} connected{{if .Verdict}}, {{.Verdict}}{{end}}{{if not .Cell.Agrees}} <b>(expected {{printf "%.3g" .Cell.Expected}})</b>{{end}}</a>
<div><table class="facts"><tr><th>expected</th><td>{{printf "%.3g" .Cell.Expected}}: {{.Cell.Because}}</td></tr>
{{if .Cell.Summary.Verdicts}}<tr><th>verdicts</th><td>{{tally .Cell.Summary.Verdicts}}</td></tr>{{end}}{{if .Cell.Summary.Causes}}<tr><th>causes</th><td>{{tally .Cell.Summary.Causes}}</td></tr>{{end}}
{{if .Cell.Failure}}<tr><th>the clients said</th><td>{{.Cell.Failure}}</td></tr>{{end}}</table>{{if .Ladder}}{{.Ladder}}{{else}}<p class="faint">No SYN was sent, so there is no exchange to show.</p>{{end}}<p><a href="#">back to the map</a></p></div></section>
{{end}}</body></html>
`))

// tally writes counts as text.
func tally(counts map[string]int) string {
	var parts []string
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", word, counts[word]))
	}
	return strings.Join(parts, ", ")
}
