package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"tcppunch/captures"
)

// LadderOptions say how a ladder is drawn. The zero value is 80 columns in
// Unicode.
type LadderOptions struct {
	Width int  // columns; below 60 is drawn as 60
	ASCII bool // nothing beyond ASCII in the drawing
}

// Ladder writes one handshake as text: a lane for each end, or for each vantage
// point where there are several, time running downwards, an arrow for each
// segment from where it left to where it arrived, then the verdict and what
// proves it.
func Ladder(w io.Writer, h captures.Handshake, opt LadderOptions) error {
	opt.Width = max(60, opt.Width)
	if opt.Width == 60 {
		opt.Width = 80
	}
	s := newScene(h)
	c := newCanvas(s, opt)
	var b strings.Builder
	c.writeHeads(&b)
	c.write(&b)
	writeNotes(&b, s)
	WriteVerdict(&b, h, opt.Width)
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteVerdict writes verdict, margin, translations and evidence as text.
func WriteVerdict(w io.Writer, h captures.Handshake, width int) {
	fmt.Fprintf(w, "verdict: %s%s\n", h.Verdict, Established(h))
	if h.CrossingMargin != nil {
		fmt.Fprintf(w, "margin:  %s\n", Margin(*h.CrossingMargin))
	}
	for _, n := range h.NAT {
		fmt.Fprintf(w, "nat:     %s -> %s (%s)\n", n.Inside, n.Outside, strings.Join(n.Rewrites, ", "))
	}
	if h.Reset != nil {
		fmt.Fprintf(w, "reset:   by %s (%s)\n", h.Reset.By, h.Reset.Confidence)
	}
	for _, e := range h.Evidence {
		text := fmt.Sprintf("%s [%s#%d]", Escape(e.Text), fileName(h, e.File), e.Packet)
		io.WriteString(w, wrap(text, "  - ", "    ", width))
	}
}

// Established says in words whether the connection stood.
func Established(h captures.Handshake) string {
	switch {
	case h.Established == nil:
		return ", whether it was established is not known"
	case *h.Established:
		return ", established"
	}
	return ", not established"
}

// Margin says in words by how much two SYNs overlapped or missed.
func Margin(d time.Duration) string {
	if d < 0 {
		return fmt.Sprintf("the SYNs missed each other by %s", since(-d, false))
	}
	return fmt.Sprintf("either SYN could have left %s later and still crossed", since(d, false))
}

func fileName(h captures.Handshake, file int) string {
	if len(h.Vantages) == 1 {
		return ""
	}
	for _, v := range h.Vantages {
		if v.File == file {
			return Escape(v.Name)
		}
	}
	return ""
}

func writeNotes(w io.Writer, s scene) {
	if s.guessed {
		fmt.Fprintln(w, "~ reckoned from how long that end took to answer; it was not captured there")
	}
	if s.omitted > 0 {
		fmt.Fprintf(w, "%d more segments are not drawn\n", s.omitted)
	}
	fmt.Fprintln(w)
}

func wrap(text, first, other string, width int) string {
	var b strings.Builder
	line, used := first, 0
	for word := range strings.FieldsSeq(text) {
		if used > 0 && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			b.WriteString(line + "\n")
			line, used = other, 0
		}
		if used > 0 {
			line += " "
		}
		line += word
		used++
	}
	return b.String() + line + "\n"
}
