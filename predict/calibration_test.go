package predict

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"testing"
)

// calibration compares predicted probabilities with what happened.
type calibration struct {
	n, hits [20]float64
	sums    [20]float64
	loss    float64
}

func (c *calibration) add(p float64, hit bool) {
	bin := min(int(p*20), 19)
	c.n[bin]++
	c.sums[bin] += p
	q := 1 - p
	if hit {
		c.hits[bin]++
		q = p
	}
	c.loss -= math.Log(max(q, 1e-6))
}

func (c *calibration) merge(o *calibration) {
	for i := range c.n {
		c.n[i] += o.n[i]
		c.hits[i] += o.hits[i]
		c.sums[i] += o.sums[i]
	}
	c.loss += o.loss
}

// error is the expected calibration error: the mean distance of the bins'
// predicted and observed rates.
func (c *calibration) error() float64 {
	distance, n := 0.0, 0.0
	for i := range c.n {
		distance += math.Abs(c.sums[i] - c.hits[i])
		n += c.n[i]
	}
	return distance / n
}

// chance is the calibration error that perfect predictions would have about.
func (c *calibration) chance() float64 {
	deviation, n := 0.0, 0.0
	for i := range c.n {
		if c.n[i] > 0 {
			p := c.sums[i] / c.n[i]
			deviation += math.Sqrt(c.n[i] * p * (1 - p))
			n += c.n[i]
		}
	}
	return deviation / n
}

// report tells the table of docs/benchmarks.md, and draws it into the file that
// TCPPUNCH_CALIBRATION_SVG names.
func (c *calibration) report(t *testing.T) {
	total := sum(c.n[:])
	t.Logf("calibration error %.4f, log loss %.4f, %.0f plans", c.error(), c.loss/total, total)
	for i := range c.n {
		if c.n[i] > 0 {
			t.Logf("| %.2f–%.2f | %.0f | %.4f | %.4f |", float64(i)/20, float64(i+1)/20, c.n[i], c.sums[i]/c.n[i], c.hits[i]/c.n[i])
		}
	}
	if path := os.Getenv("TCPPUNCH_CALIBRATION_SVG"); path != "" {
		if err := os.WriteFile(path, c.draw(), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// draw plots the share of hits over the predicted probability: for each bin a
// dot with the interval in which 95 % of the shares lie that one could see if the
// mean prediction were right, and below how many plans fell into the bin. Equal
// numbers give equal bytes.
func (c *calibration) draw() []byte {
	const left, top, side, bars = 60.0, 40.0, 400.0, 80.0
	var b bytes.Buffer
	x := func(p float64) float64 { return left + side*p }
	y := func(p float64) float64 { return top + side*(1-p) }
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="500" height="620" font-family="sans-serif" font-size="12">`+"\n")
	fmt.Fprintf(&b, `<rect width="500" height="620" fill="white"/><text x="60" y="24">%.0f plans, expected calibration error %.4f, log loss %.4f</text>`+"\n", sum(c.n[:]), c.error(), c.loss/sum(c.n[:]))
	fmt.Fprintf(&b, `<path d="M%.1f %.1fV%.1fH%.1f" fill="none" stroke="black"/><path d="M%.1f %.1fL%.1f %.1f" stroke="gray" stroke-dasharray="4"/>`+"\n", left, top, top+side, left+side, x(0), y(0), x(1), y(1))
	for i := range 6 {
		p := float64(i) / 5
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%.1f</text><text x="%.1f" y="%.1f" text-anchor="end">%.1f</text>`+"\n", x(p), top+side+16, p, left-6, y(p)+4, p)
	}
	fmt.Fprintf(&b, `<text x="260" y="474" text-anchor="middle">predicted probability</text><text x="18" y="240" text-anchor="middle" transform="rotate(-90 18 240)">share of hits</text>`+"\n")
	most := 0.0
	for _, n := range c.n {
		most = max(most, n)
	}
	for i, n := range c.n {
		if n == 0 {
			continue
		}
		p, hits := c.sums[i]/n, c.hits[i]/n
		wide := 1.96 * math.Sqrt(p*(1-p)/n)
		fmt.Fprintf(&b, `<path d="M%.1f %.1fV%.1f" stroke="silver" stroke-width="6"/><circle cx="%.1f" cy="%.1f" r="3"><title>%.0f plans, predicted %.4f, hits %.4f</title></circle>`+"\n",
			x(p), y(max(p-wide, 0)), y(min(p+wide, 1)), x(p), y(hits), n, p, hits)
		tall := bars * math.Log1p(n) / math.Log1p(most)
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="18" height="%.1f" fill="steelblue"/>`+"\n", x(float64(i)/20)+1, 580-tall, tall)
	}
	fmt.Fprintf(&b, `<text x="260" y="600" text-anchor="middle">plans in each bin, logarithmic, at most %.0f</text>`+"\n</svg>\n", most)
	return b.Bytes()
}

func TestACalibrationPlotShowsEachBinAndIsTheSameEachTime(t *testing.T) {
	draw := func(order []int) []byte {
		var c calibration
		for _, i := range order {
			c.add(float64(i%4)/4, i%3 == 0)
		}
		return c.draw()
	}
	first, again := draw([]int{0, 1, 2, 3, 5, 6}), draw([]int{0, 1, 2, 3, 5, 6})
	if !bytes.Equal(first, again) {
		t.Error("two drawings of the same numbers differ")
	}
	dots := 0
	for d := xml.NewDecoder(bytes.NewReader(first)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			dots++
		}
	}
	if dots != 4 {
		t.Errorf("got %d dots, want one for each of 4 bins", dots)
	}
}
