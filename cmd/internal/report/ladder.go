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
	if opt.Width == 0 {
		opt.Width = 80
	}
	opt.Width = max(60, opt.Width)
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

// WriteVerdict writes verdict, findings, evidence, and what stays unknown, as
// text.
func WriteVerdict(w io.Writer, h captures.Handshake, width int) {
	line := func(head, format string, args ...any) {
		io.WriteString(w, wrap(fmt.Sprintf(format, args...), head, strings.Repeat(" ", len(head)), width))
	}
	line("verdict: ", "%s%s", h.Verdict, Established(h))
	for _, f := range findings(h) {
		line(fmt.Sprintf("%-9s", f.Name+": "), "%s", Escape(f.Text))
		for _, r := range f.Reasons {
			io.WriteString(w, wrap(fmt.Sprintf("%s [%s]", Escape(r.Text), Escape(r.Source)), "    ", "        ", width))
		}
	}
	for _, e := range h.Evidence {
		text := fmt.Sprintf("%s [%s]", Escape(e.Text), Escape(sourceOf(h, e.File, e.Packet)))
		io.WriteString(w, wrap(text, "  - ", "    ", width))
	}
	for _, l := range h.Limits {
		io.WriteString(w, wrap(Escape(l), "  ? ", "    ", width))
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

// placeOf is the short name of the vantage point that a piece of evidence is
// from; nothing where there is one only.
func placeOf(h captures.Handshake, file, packet int) string {
	if len(h.Vantages) == 1 {
		return ""
	}
	names := distinct(h.Vantages)
	for _, x := range h.Events {
		if x.File == file && x.Packet == packet {
			return names[x.Vantage]
		}
	}
	return ""
}

func writeNotes(w io.Writer, s scene) {
	if s.guessed {
		fmt.Fprintln(w, "~ reckoned from how long that end took to answer; it was not captured there")
	}
	if s.untimed {
		fmt.Fprintln(w, "no times: a file gives none, and segments are drawn in the order of their packets")
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
