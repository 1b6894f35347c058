package main

import (
	"fmt"
	"strings"
	"time"
)

// The drawing's size and margins in pixels.
const (
	plotWidth, plotHeight   = 900, 360
	plotLeft, plotTop       = 110, 40
	plotInnerW, plotInnerH  = plotWidth - plotLeft - 20, plotHeight - plotTop - 50
	plotBottom, plotRightAt = plotTop + plotInnerH, plotLeft + plotInnerW
)

// estimatePlot maps times and offsets to pixels.
type estimatePlot struct {
	begin, end time.Time
	low, high  time.Duration
}

func (p estimatePlot) x(t time.Time) float64 {
	span := max(p.end.Sub(p.begin), 1)
	return plotLeft + plotInnerW*float64(t.Sub(p.begin))/float64(span)
}

func (p estimatePlot) y(d time.Duration) float64 {
	span := max(p.high-p.low, 1)
	return plotTop + plotInnerH*float64(p.high-d)/float64(span)
}

// drawEstimates is an SVG of the offset over time: a line, the certain bound
// as a light band around it, and the 99 % uncertainty as a darker one.
func drawEstimates(list []watched) string {
	p := estimatePlot{begin: list[0].At, end: list[len(list)-1].At, low: list[0].Offset, high: list[0].Offset}
	for _, u := range list {
		p.low, p.high = min(p.low, u.Offset-u.Bound), max(p.high, u.Offset+u.Bound)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, plotHeight)
	fmt.Fprintln(&b, `<title>Offset of the reference from this clock, with its bound</title>`)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="20" font-size="14">offset of the reference from this clock; light: certain bound, dark: 99 %%</text>`+"\n", plotLeft)
	b.WriteString(p.band(list, "#cfe3f5", func(u watched) time.Duration { return u.Bound }))
	b.WriteString(p.band(list, "#8fbfe8", func(u watched) time.Duration { return u.Uncertainty }))
	var line []string
	for _, u := range list {
		line = append(line, p.point(u.At, u.Offset))
	}
	fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="#10446e" stroke-width="1.5"/>`+"\n", strings.Join(line, " "))
	b.WriteString(p.axes())
	b.WriteString("</svg>\n")
	return b.String()
}

func (p estimatePlot) point(t time.Time, d time.Duration) string {
	return fmt.Sprintf("%.1f,%.1f", p.x(t), p.y(d))
}

// band goes along the upper edge and back along the lower one.
func (p estimatePlot) band(list []watched, color string, half func(watched) time.Duration) string {
	points := make([]string, 2*len(list))
	for i, u := range list {
		points[i] = p.point(u.At, u.Offset+half(u))
		points[len(points)-1-i] = p.point(u.At, u.Offset-half(u))
	}
	return fmt.Sprintf(`<polygon points="%s" fill="%s"/>`+"\n", strings.Join(points, " "), color)
}

func (p estimatePlot) axes() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<path d="M%d %dV%dH%d" fill="none" stroke="black"/>`+"\n", plotLeft, plotTop, plotBottom, plotRightAt)
	for i := range 5 {
		d := p.low + (p.high-p.low)/4*time.Duration(i)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end" dominant-baseline="middle">%s</text>`+"\n", plotLeft-6, p.y(d), brief(d))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", plotLeft, plotBottom+18, p.begin.Format(time.RFC3339))
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotRightAt, plotBottom+18, p.end.Format(time.RFC3339))
	return b.String()
}
