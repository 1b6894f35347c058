package lab

import (
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"
)

// WriteHTML writes the table as a page that stands alone, as a Matrix does: a
// row for each pair, a column for each strategy, and behind each cell the ladder
// of one exchange.
func (x Strategies) WriteHTML(w io.Writer) error {
	page := strategyPage{Strategies: x, OneWay: time.Duration(x.Delay), Took: time.Duration(x.Took).Round(time.Second)}
	for _, cells := range x.Rows() {
		row := matrixRow{Name: cells[0].A + " × " + cells[0].B}
		for _, c := range cells {
			i := len(page.Details)
			row.Cells = append(row.Cells, c.square(i))
			page.Details = append(page.Details, strategyDetail{c.Strategy, detailOf(i, c.shown())})
		}
		page.Rows = append(page.Rows, row)
	}
	page.Better, page.Worse = page.linked(x.Wins), page.linked(x.Short)
	if err := strategyTemplate.Execute(w, page); err != nil {
		return fmt.Errorf("write the table of strategies: %w", err)
	}
	return nil
}

type strategyPage struct {
	Strategies
	OneWay  time.Duration
	Took    time.Duration
	Rows    []matrixRow
	Details []strategyDetail
	Better  []linkedWin // Wins
	Worse   []linkedWin // Short
}

// linkedWin leads to the exchange that won, and to the one that did not.
type linkedWin struct {
	StrategyWin
	Won, Lost int
}

func (p strategyPage) linked(list []StrategyWin) (wins []linkedWin) {
	for _, w := range list {
		wins = append(wins, linkedWin{w, p.detail(w.Strategy, w.A, w.B), p.detail(w.Over, w.A, w.B)})
	}
	return wins
}

// detail is the place of one strategy on one pair.
func (p strategyPage) detail(strategy, a, b string) int {
	return slices.IndexFunc(p.Details, func(d strategyDetail) bool { return d.Strategy == strategy && d.Cell.A == a && d.Cell.B == b })
}

type strategyDetail struct {
	Strategy string
	matrixDetail
}

// shown is the cell as a page shows it; theory has no word on strategies. The
// exchange is one that ended as most did.
func (c StrategyCell) shown() MatrixCell {
	c.cell.A, c.cell.B, c.cell.Summary, c.cell.Agrees = c.A, c.B, c.Summary, true
	if c.cell.Connected != nil && 2*c.Summary.Established >= c.Summary.Valid {
		c.cell.Shown = c.cell.Connected
	}
	return c.cell
}

func (c StrategyCell) square(i int) matrixSquare {
	s := squareOf(i, c.shown())
	s.Title = fmt.Sprintf("%s, %s × %s: %d of %d connected", c.Strategy, c.A, c.B, c.Summary.Established, c.Summary.Valid)
	return s
}

var strategyTemplate = template.Must(template.New("strategies").Funcs(template.FuncMap{"tally": tally}).Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>tcppunch strategies</title><style>` + matrixStyle + `.map a{width:64px}</style></head>
<body><h1>Which strategy connects where: {{len .Strategies.Strategies}} strategies, {{len .Rows}} pairs</h1>
<div class="top"><table class="map"><thead><tr><th></th>{{range .Strategies.Strategies}}<th>{{.}}</th>{{end}}</tr></thead><tbody>
{{range .Rows}}<tr><th>{{.Name}}</th>{{range .Cells}}<td><a href="#c{{.Index}}" title="{{.Title}}" style="background:{{.Color}}">{{.Text}}</a></td>{{end}}</tr>
{{end}}</tbody></table>
<div class="side"><p>A number is the percentage of meetings that connected, {{.OneWay}} one way, at most {{.Budget}} SYNs. Each network meets itself and {{.Opposite}}. Follow a cell to its exchange, which opens below.</p>
{{if .Wins}}<h2>Better than simopen</h2><table>{{range .Better}}<tr><td>{{.A}} × {{.B}}</td><td><a href="#c{{.Won}}">{{.Strategy}}</a></td><td>{{.Share.Established}} of {{.Share.Valid}}</td><td class="faint"><a href="#c{{.Lost}}">{{.Over}}</a> {{.Less.Established}} of {{.Less.Valid}}</td></tr>{{end}}</table>{{end}}
{{if .Short}}<h2>Better than auto</h2><table>{{range .Worse}}<tr><td>{{.A}} × {{.B}}</td><td><a href="#c{{.Won}}">{{.Strategy}}</a></td><td>{{.Share.Established}} of {{.Share.Valid}}</td><td class="faint"><a href="#c{{.Lost}}">{{.Over}}</a> {{.Less.Established}} of {{.Less.Valid}}</td></tr>{{end}}</table>{{end}}
<p class="faint">It took {{.Took}}.</p></div></div>
<h2>Exchanges</h2>
{{range .Details}}<section class="pair" id="c{{.Index}}"><a href="#c{{.Index}}"><b>{{.Strategy}}, {{.Cell.A}} × {{.Cell.B}}</b>: {{.Cell.Summary.Established}} of {{.Cell.Summary.Valid}} connected{{if .Verdict}}, {{.Verdict}}{{end}}</a>
<div><table class="facts">{{if .Cell.Summary.Verdicts}}<tr><th>verdicts</th><td>{{tally .Cell.Summary.Verdicts}}</td></tr>{{end}}{{if .Cell.Summary.Causes}}<tr><th>causes</th><td>{{tally .Cell.Summary.Causes}}</td></tr>{{end}}
{{if .Cell.Failure}}<tr><th>the clients said</th><td>{{.Cell.Failure}}</td></tr>{{end}}</table>{{if .Ladder}}{{.Ladder}}{{else}}<p class="faint">No SYN was sent, so there is no exchange to show.</p>{{end}}<p><a href="#">back to the table</a></p></div></section>
{{end}}</body></html>
`))
