package report

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"tcppunch/captures"
)

// timeColumn is the width of the times on either side: "~-99999.999 ms".
const timeColumn = 12

// canvas is a scene on a grid of characters. Slanted lines are drawn in
// braille, which divides each cell into 2 by 4 dots.
type canvas struct {
	scene
	LadderOptions
	cells [][]rune
	dots  [][]byte
	left  int // column of the first lane
	span  int // columns from the first lane to the last
}

func newCanvas(s scene, opt LadderOptions) *canvas {
	c := &canvas{scene: s, LadderOptions: opt, left: timeColumn + 1, span: opt.Width - 2*timeColumn - 3}
	for range s.rows {
		c.cells = append(c.cells, []rune(strings.Repeat(" ", opt.Width)))
		c.dots = append(c.dots, make([]byte, opt.Width))
	}
	c.drawLanes()
	for _, a := range s.arrows {
		c.drawLines(a)
	}
	c.showDots()
	for _, a := range s.arrows {
		c.drawEnds(a)
	}
	for _, t := range s.ticks {
		c.drawTime(t)
	}
	if x, y, ok := s.crossing(); ok {
		c.set(int(math.Round(y)), c.left+int(math.Round(x*c.pitch())), c.pick('╳', 'X'))
	}
	return c
}

func (c *canvas) pick(unicode, ascii rune) rune {
	if c.ASCII {
		return ascii
	}
	return unicode
}

// pitch is the distance of neighbouring lanes in columns.
func (c *canvas) pitch() float64 { return float64(c.span) / float64(len(c.lanes)-1) }

func (c *canvas) column(lane int) int { return c.left + int(math.Round(float64(lane)*c.pitch())) }

func (c *canvas) set(row, column int, r rune) {
	if row >= 0 && row < len(c.cells) && column >= 0 && column < c.Width {
		c.cells[row][column] = r
	}
}

func (c *canvas) put(row, column int, text string) {
	for _, r := range text {
		c.set(row, column, r)
		column++
	}
}

func (c *canvas) drawLanes() {
	for row := range c.cells {
		for i := range c.lanes {
			c.set(row, c.column(i), c.pick('│', '|'))
		}
	}
}

// drawLines draws an arrow through all places where it was seen; one that got
// lost ends a little after the last of them.
func (c *canvas) drawLines(a arrow) {
	for i := 1; i < len(a.points); i++ {
		p, q := a.points[i-1], a.points[i]
		c.line(c.column(p.lane), p.row, c.column(q.lane), q.row)
	}
	if a.lost {
		x, y := c.lostAt(a)
		p := a.points[len(a.points)-1]
		c.line(c.column(p.lane), p.row, x, y)
	}
}

func (c *canvas) lostAt(a arrow) (column int, row float64) {
	p := a.points[len(a.points)-1]
	step := int(c.pitch() * 0.6)
	if a.from == captures.SideB {
		step = -step
	}
	return c.column(p.lane) + step, p.row + 0.4
}

// line sets dots between two columns, without the columns themselves. Lanes
// that are too many for the width share columns.
func (c *canvas) line(x0 int, y0 float64, x1 int, y1 float64) {
	for x := min(x0, x1) + 1; x < max(x0, x1); x++ {
		for half := range 2 {
			along := (float64(x) + float64(half)/2 - float64(x0)) / float64(x1-x0)
			c.dot(x, half, y0+(y1-y0)*along+0.5)
		}
	}
}

// dot sets one of a cell's eight dots; y is in rows from the top edge.
func (c *canvas) dot(x, half int, y float64) {
	row, quarter := int(y), int(y*4)&3
	if row < 0 || row >= len(c.dots) || x < 0 || x >= c.Width {
		return
	}
	bits := [2][4]byte{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}
	c.dots[row][x] |= bits[half][quarter]
}

// showDots turns dots into characters where nothing else stands.
func (c *canvas) showDots() {
	for row, line := range c.dots {
		for x, d := range line {
			if d != 0 && c.cells[row][x] == ' ' {
				c.cells[row][x] = c.pick(rune(0x2800)+rune(d), asciiDot(d))
			}
		}
	}
}

func asciiDot(d byte) rune {
	switch {
	case d&(0x01|0x08) != 0:
		return '\''
	case d&(0x40|0x80) != 0:
		return '.'
	}
	return '-'
}

func (c *canvas) drawEnds(a arrow) {
	first, last := a.points[0], a.points[len(a.points)-1]
	c.put(int(math.Round(first.row)), c.labelAt(a), a.label)
	if a.lost {
		x, y := c.lostAt(a)
		c.set(int(math.Round(y)), x, c.pick('✗', 'x'))
		return
	}
	head, at := c.pick('▶', '>'), c.column(last.lane)-1
	if a.from == captures.SideB {
		head, at = c.pick('◀', '<'), c.column(last.lane)+1
	}
	c.set(int(math.Round(last.row)), at, head)
}

// labelAt is the column of an arrow's label: where the arrow goes from its
// first lane, unless the times stand there.
func (c *canvas) labelAt(a arrow) int {
	lane := a.points[0].lane
	if lane == 0 || a.from == captures.SideA && lane < len(c.lanes)-1 {
		return c.column(lane) + 2
	}
	return c.column(lane) - 1 - utf8.RuneCountInString(a.label)
}

func (c *canvas) drawTime(t tick) {
	if t.hidden {
		return
	}
	text := since(t.since, t.guessed)
	row := int(math.Round(t.row))
	if t.last {
		c.put(row, c.left+c.span+2, text)
	} else if t.lane == 0 {
		c.put(row, c.left-1-utf8.RuneCountInString(text), text)
	}
}

// writeHeads writes names and addresses above the lanes.
func (c *canvas) writeHeads(b *strings.Builder) {
	first, last := c.lanes[0], c.lanes[len(c.lanes)-1]
	gap := c.Width - utf8.RuneCountInString(first.address) - utf8.RuneCountInString(last.address) - 4
	fmt.Fprintf(b, "A %s%sB %s\n", first.address, strings.Repeat(" ", max(1, gap)), last.address)
	line := []rune(strings.Repeat(" ", c.Width))
	for i, l := range c.lanes {
		room := int(c.pitch()) - 1
		name := []rune(l.name)
		if len(name) > room {
			name = append(name[:max(0, room-1)], c.pick('…', '~'))
		}
		at := min(max(0, c.column(i)-len(name)/2), c.Width-len(name))
		copy(line[at:], name)
	}
	b.WriteString(strings.TrimRight(string(line), " ") + "\n")
}

func (c *canvas) write(b *strings.Builder) {
	for _, line := range c.cells {
		b.WriteString(strings.TrimRight(string(line), " ") + "\n")
	}
}
