package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"tcppunch/captures"
	"tcppunch/cmd/internal/report"
)

func analyzeCommand() *cli.Command {
	return &cli.Command{
		Name:      "analyze",
		Usage:     "say from capture files how TCP connections were opened, and what proves it",
		ArgsUsage: "FILE…",
		Args:      true,
		Description: "Reads pcap and pcapng files, also compressed with gzip or zstd; - is standard input. Several files\n" +
			"are several vantage points of one exchange, whose clocks are compared. Exit status 1: no opening of a TCP connection was found.",
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.StringFlag{Name: "html", Usage: "write a page with ladders and evidence to `FILE`"},
			&cli.StringFlag{Name: "svg", Usage: "write one ladder as a picture to `FILE`: where there are several, of a crossing, or what tells most; --host and --port choose"},
			&cli.BoolFlag{Name: "mermaid", Usage: "print sequence diagrams in Mermaid's language instead of ladders"},
			&cli.StringFlag{Name: "write", Usage: "write the packets of the openings, commented, to `FILE`.pcapng; or, without comments, to FILE.pcap"},
			&cli.BoolFlag{Name: "privacy", Usage: "put pseudonyms in the place of all addresses, in everything that is printed and written"},
			&cli.StringFlag{Name: "host", Usage: "only openings with this IP `ADDRESS` on either side"},
			&cli.IntFlag{Name: "port", Usage: "only openings with this `PORT` on either side"},
			&cli.IntFlag{Name: "limit", Usage: "`N` openings listed at most, the telling ones first; all are counted", Value: 1000},
			&cli.IntFlag{Name: "width", Usage: "columns of the ladder (default: those of the terminal, or 80)"},
			&cli.BoolFlag{Name: "ascii", Usage: "draw ladders in plain ASCII"},
		},
		Action: analyze,
	}
}

func analyze(c *cli.Context) error {
	filter, err := analyzeFilter(c)
	if err != nil {
		return err
	}
	inputs, err := openInputs(c)
	if err != nil {
		return err
	}
	defer inputs.close()
	if err := inputs.spare(c); err != nil {
		return err
	}
	hide := pseudonyms(c)
	a, err := captures.AnalyzeHidden(inputs.sources(c.Context), filter, hide)
	if err != nil {
		return readFailure(c.Context, err)
	}
	if err := writeAnalysisFiles(c, a, inputs, hide); err != nil {
		return err
	}
	if err := result(c, a, func(w io.Writer) error { return printAnalysis(c, w, a) }); err != nil {
		return err
	}
	if len(a.Handshakes) == 0 {
		return exitStatus(statusNo)
	}
	return nil
}

// pseudonyms are nil without --privacy.
func pseudonyms(c *cli.Context) *captures.Pseudonyms {
	if c.Bool("privacy") {
		return new(captures.Pseudonyms)
	}
	return nil
}

func analyzeFilter(c *cli.Context) (f captures.Filter, err error) {
	if c.Args().Len() == 0 {
		return f, usageError("name a capture file", "tcppunch analyze FILE…; - reads standard input")
	}
	if f.Host, err = wantedHost(c); err != nil {
		return f, err
	}
	if f.Port, err = wantedPort(c); err != nil {
		return f, err
	}
	if f.Limit = c.Int("limit"); f.Limit < 1 {
		return f, usageError(fmt.Sprintf("--limit %d lists nothing", f.Limit), "give 1 or more")
	}
	if n := c.Int("width"); n < 0 || n > maxWidth {
		return f, usageError(fmt.Sprintf("--width %d is not between 1 and %d", n, maxWidth), "")
	}
	return f, nil
}

// maxWidth bounds what a ladder's canvas takes: more than any screen has.
const maxWidth = 1000

// input is one file, which --write reads a second time.
type input struct {
	name string
	file *os.File  // nil: standard input
	in   io.Reader // standard input
	kept *os.File  // what standard input gave, where it must be read again
}

type inputs []*input

func openInputs(c *cli.Context) (list inputs, err error) {
	for _, name := range c.Args().Slice() {
		if name == "-" {
			i, err := standardInput(c)
			if err != nil {
				list.close()
				return nil, err
			}
			list = append(list, i)
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			list.close()
			return nil, readFailure(c.Context, err)
		}
		list = append(list, &input{name: name, file: file})
	}
	return list, nil
}

// standardInput keeps what it gives in a file, where it must be read again: it
// may be more than fits into memory.
func standardInput(c *cli.Context) (*input, error) {
	i := &input{name: "standard input", in: streamsOf(c).in}
	if c.String("write") == "" {
		return i, nil
	}
	kept, err := os.CreateTemp("", "tcppunch-analyze-*")
	if err != nil {
		return nil, fmt.Errorf("keep standard input for --write: %w", err)
	}
	os.Remove(kept.Name()) // where an open file can be removed, nothing is left behind whatever happens
	i.kept, i.in = kept, io.TeeReader(i.in, kept)
	return i, nil
}

// outputs are the flags that name a file to be written.
var outputs = []string{"html", "svg", "write"}

// spare refuses to write over a capture that is read, by whatever name, or over
// another output, before anything is truncated.
func (l inputs) spare(c *cli.Context) error {
	written := map[string]string{}
	for _, flag := range outputs {
		name := c.String(flag)
		switch other, twice := written[filepath.Clean(name)]; {
		case name == "":
			continue
		case name == "-":
			return usageError(fmt.Sprintf("--%s - is no file: standard output takes the analysis", flag), "name a file")
		case twice:
			return usageError(fmt.Sprintf("--%s and --%s name one file", other, flag), "name two")
		case l.holds(name):
			return usageError(fmt.Sprintf("--%s would write over %s, which is read", flag, report.Escape(name)), "name another file")
		}
		written[filepath.Clean(name)] = flag
	}
	return nil
}

// holds reports whether a name is that of a regular file among the inputs; a
// terminal or /dev/null may well be both.
func (l inputs) holds(name string) bool {
	target, err := os.Stat(name)
	if err != nil || !target.Mode().IsRegular() {
		return false
	}
	return slices.ContainsFunc(l, func(i *input) bool {
		if i.file == nil {
			return false
		}
		info, err := i.file.Stat()
		return err == nil && os.SameFile(info, target)
	})
}

func (l inputs) close() {
	for _, i := range l {
		if i.file != nil {
			i.file.Close()
		}
		if i.kept != nil {
			i.kept.Close()
			os.Remove(i.kept.Name())
		}
	}
}

func (l inputs) sources(ctx context.Context) []captures.Source {
	var list []captures.Source
	for _, i := range l {
		r := i.in
		if i.file != nil {
			r = i.file
		}
		list = append(list, captures.Source{Name: i.name, Reader: interruptible{ctx, r}})
	}
	return list
}

// again rewinds the inputs for a second reading.
func (l inputs) again(ctx context.Context) ([]captures.Source, error) {
	for _, i := range l {
		file := i.file
		if file == nil {
			file, i.in = i.kept, i.kept
		}
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("--write reads %s twice, which is not possible here: %w", i.name, err)
		}
	}
	return l.sources(ctx), nil
}

// interruptible is a reader that gives up when the command is interrupted, even
// while a pipe keeps silent.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	if f, ok := i.r.(*os.File); ok && f != os.Stdin {
		return f.Read(p)
	}
	type answer struct {
		data []byte
		err  error
	}
	// Nothing ends a read of a silent standard input but the process itself,
	// which is what follows an interruption.
	done := make(chan answer, 1)
	go func() {
		data := make([]byte, len(p))
		n, err := i.r.Read(data)
		done <- answer{data[:n], err}
	}()
	select {
	case got := <-done:
		return copy(p, got.data), got.err
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	}
}

// readFailure makes one sentence of why a file could not be read at all.
func readFailure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f := &failure{Status: statusFailed, Kind: "unreadable", Message: report.Escape(err.Error())}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Hint = "check the path"
	case errors.Is(err, fs.ErrPermission):
		f.Hint = "read it as the user who owns it"
	case errors.Is(err, captures.ErrNotCapture):
		f.Hint = "pcap and pcapng files are understood, also compressed with gzip or zstd"
	}
	return f
}

// writeAnalysisFiles writes what --html, --svg and --write ask for.
func writeAnalysisFiles(c *cli.Context, a captures.Analysis, in inputs, hide *captures.Pseudonyms) error {
	if name := c.String("html"); name != "" {
		err := writeFile(name, func(w io.Writer) error {
			return report.HTML(w, "How the connections were opened", report.AnalysisSections(a)...)
		})
		if err != nil {
			return err
		}
	}
	if err := writePicture(c, a); err != nil {
		return err
	}
	name := c.String("write")
	if name == "" || len(a.Handshakes) == 0 {
		return nil
	}
	sources, err := in.again(c.Context)
	if err != nil {
		return err
	}
	export := captures.Export{Classic: isClassic(name), Hide: hide}
	return writeFile(name, func(w io.Writer) error {
		leftOut, err := export.Write(w, a, sources)
		if leftOut > 0 {
			streamsOf(c).say("%d packets were left out of %s: what carries them may hold addresses", leftOut, name)
		}
		return err
	})
}

// writePicture draws one opening, and says which where there are several.
func writePicture(c *cli.Context, a captures.Analysis) error {
	name, shown := c.String("svg"), a.Picture()
	if name == "" || shown == nil {
		return nil
	}
	if n := len(a.Handshakes); n > 1 {
		number := 1 + slices.IndexFunc(a.Handshakes, func(h captures.Handshake) bool { return h.Events[0] == shown.Events[0] })
		streamsOf(c).say("%s shows opening %d of %d, %s, between %s and %s; --host and --port choose others", name, number, n, shown.Verdict, shown.A, shown.B)
	}
	return writeFile(name, func(w io.Writer) error { return report.SVG(w, *shown) })
}

// writeFile creates a file that its owner alone can read.
func writeFile(name string, write func(io.Writer) error) error {
	file, err := ownFile(name)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(file)
	err = errors.Join(write(buffered), buffered.Flush(), file.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func printAnalysis(c *cli.Context, w io.Writer, a captures.Analysis) error {
	for _, f := range a.Files {
		for _, problem := range f.Problems {
			streamsOf(c).say("%s: %s", report.Escape(f.Path), problem)
		}
	}
	options := report.LadderOptions{Width: ladderWidth(c, w), ASCII: c.Bool("ascii")}
	buffered := bufio.NewWriter(w)
	if c.Bool("mermaid") {
		for _, h := range a.Handshakes {
			if err := report.Mermaid(buffered, h); err != nil {
				return err
			}
		}
		return buffered.Flush()
	}
	for i, h := range a.Handshakes {
		if len(a.Handshakes) > 1 {
			fmt.Fprintf(buffered, "== %d of %d ==\n", i+1, len(a.Handshakes))
		}
		if err := report.Ladder(buffered, h, options); err != nil {
			return err
		}
		fmt.Fprintln(buffered)
	}
	for _, line := range report.ClockLines(a) {
		fmt.Fprintf(buffered, "clock of %s\n", report.Escape(line))
	}
	fmt.Fprintln(buffered, summaryLine(a))
	return buffered.Flush()
}

// ladderWidth is --width, or that of the terminal, or 80; a ladder gains
// nothing beyond 120.
func ladderWidth(c *cli.Context, w io.Writer) int {
	if n := c.Int("width"); n > 0 {
		return n
	}
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return min(columns, 120)
		}
	}
	return 80
}

func summaryLine(a captures.Analysis) string {
	packets := 0
	for _, f := range a.Files {
		packets += f.Packets
	}
	var parts []string
	for v := captures.VerdictUnknown; v <= captures.VerdictIncomplete; v++ {
		if n := a.Summary[v]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", v, n))
		}
	}
	if parts == nil {
		return fmt.Sprintf("no opening of a TCP connection in %d packets", packets)
	}
	line := fmt.Sprintf("openings: %s; %d packets", strings.Join(parts, ", "), packets)
	if a.Unlisted > 0 {
		line += fmt.Sprintf("; %d openings are counted and not listed, see --limit", a.Unlisted)
	}
	return line
}
