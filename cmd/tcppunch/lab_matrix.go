package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"tcppunch/cmd/internal/lab"
)

func labMatrixCommand() *cli.Command {
	return &cli.Command{
		Name:  "matrix",
		Usage: "let every pair of networks meet, and compare what connects with what theory expects",
		Flags: append(matrixFlags(1),
			&cli.StringFlag{Name: "strategy", Usage: "`STRATEGY` of meet; of all, or of a list such as simopen,crafted, a table is made"},
			&cli.StringFlag{Name: "opposite", Value: "linux", Usage: "with several strategies each network meets itself and this `PROFILE`"},
			labTransport(),
			&cli.BoolFlag{Name: "uncertain", Usage: "only the pairs of which theory is not certain; many --trials measure those"},
			&cli.StringFlag{Name: "html", Usage: "write a heatmap to `FILE`, in which each cell leads to its exchange"},
			&cli.StringFlag{Name: "keep", Usage: "keep captures, reports, logs and the boxes' decisions of every trial in `DIR`, by pairs"},
			&cli.BoolFlag{Name: "json-stream", Usage: "print each cell as a JSON line when it has ended, then the document"},
			jsonFlag(),
		),
		Action: labMatrix,
	}
}

// matrixFlags are those of all commands that let every pair meet.
func matrixFlags(trials int) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "profiles", Usage: "`PROFILE,PROFILE…`, a key=value belonging to the name before it, or separated by semicolons; by default all that have names"},
		labDelay(),
		&cli.IntFlag{Name: "trials", Value: trials, Usage: "meetings of each pair, over each transport"},
		&cli.IntFlag{Name: "budget", Usage: "SYNs, or datagrams, that may leave; 0 is the default of meet"},
		&cli.DurationFlag{Name: "timeout", Value: 4 * time.Second, Usage: "of a meeting"},
		&cli.IntFlag{Name: "parallel", Value: 14, Usage: "pairs at a time, where timing does not decide"},
	}
}

func labMatrix(c *cli.Context) error {
	if list := severalStrategies(c); list != nil {
		return labStrategies(c, list)
	}
	config, err := matrixConfig(c)
	if err != nil {
		return err
	}
	return inLab(c, func(ctx context.Context) error {
		s := streamsOf(c)
		matrix, err := lab.RunMatrix(ctx, config, matrixProgress(s, c.Bool("json-stream")))
		if err != nil {
			return err
		}
		if path := c.String("html"); path != "" {
			if err := createPage(path, matrix.WriteHTML); err != nil {
				return err
			}
		}
		if c.Bool("json-stream") {
			return printJSON(s.out, schemaOf("lab matrix"), matrix)
		}
		return result(c, matrix, func(w io.Writer) error { return writeMatrix(w, matrix) })
	})
}

func matrixConfig(c *cli.Context) (lab.MatrixConfig, error) {
	config := lab.MatrixConfig{Uncertain: c.Bool("uncertain"), Config: lab.Config{Delay: c.Duration("delay"), SkewA: lab.DefaultSkewA, SkewB: lab.DefaultSkewB, Retries: -1,
		Budget: c.Int("budget"), Timeout: c.Duration("timeout"), Strategy: c.String("strategy"), Transport: c.String("transport"), Trials: c.Int("trials"), Parallel: c.Int("parallel"), Keep: c.String("keep")}}
	if err := checkLabStrategy(c); err != nil {
		return config, err
	}
	if err := checkLabTransport(c); err != nil {
		return config, err
	}
	switch {
	case config.Delay < 0:
		return config, usageError("a delay cannot be negative", "--delay 0 is the least")
	case config.Trials < 1 || config.Parallel < 1:
		return config, usageError("there must be at least one trial, one at a time", "give --trials and --parallel at least 1")
	}
	texts := splitProfiles(c.String("profiles"))
	if len(texts) == 0 {
		config.Profiles = lab.Profiles()
	}
	for _, text := range texts {
		p, err := lab.ParseProfile(text)
		if err != nil {
			return config, profileError("profiles", err)
		}
		config.Profiles = append(config.Profiles, p)
	}
	return config, nil
}

// splitProfiles separates profiles, which may hold commas themselves.
func splitProfiles(list string) []string {
	switch {
	case list == "":
		return nil
	case strings.Contains(list, ";"):
		return strings.Split(list, ";")
	}
	var texts []string
	for part := range strings.SplitSeq(list, ",") {
		if n := len(texts); n > 0 && strings.Contains(part, "=") && !strings.Contains(part, "+") {
			texts[n-1] += "," + part
			continue
		}
		texts = append(texts, part)
	}
	return texts
}

// createPage creates the page of a matrix or of a table of strategies.
func createPage(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("write the heatmap: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}

// matrixProgress tells of each cell as it ends: as a line of JSON, or by a bar on
// a terminal.
func matrixProgress(s streams, stream bool) func(lab.MatrixCell, int) {
	if stream {
		encoder := json.NewEncoder(s.out)
		return func(c lab.MatrixCell, _ int) { encoder.Encode(c) }
	}
	file, ok := s.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	done, started := 0, time.Now()
	return func(c lab.MatrixCell, of int) {
		done++
		fmt.Fprintf(s.err, "\r\x1b[K%s %d of %d pairs, %s  %s × %s ", bar(done, of), done, of, time.Since(started).Round(time.Second), c.A, c.B)
		if done == of {
			fmt.Fprint(s.err, "\r\x1b[K")
		}
	}
}

// bar draws how much of something is done.
func bar(done, total int) string {
	const width = 30
	full := width * done / max(total, 1)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

func writeMatrix(w io.Writer, m lab.Matrix) error {
	fmt.Fprintf(w, "%d networks, %d pairs%s, %v one way; + all connected, . none, 1 to 9 tenths; ! not what theory expected\n\n", len(m.Profiles), len(m.Cells), overTransport(m.Transport), time.Duration(m.Delay))
	writeHeatmap(w, m)
	if err := writeMatrixSummary(w, m.Summary); err != nil {
		return err
	}
	return errors.Join(writeChances(w, m), writeConfusion(w, m), writeJudgements(w, m.Summary))
}

// writeChances lists the pairs of a matrix that holds only those where chance
// decides.
func writeChances(w io.Writer, m lab.Matrix) error {
	if m.Summary.Certain > 0 {
		return nil
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "pair\texpected\tmeasured\t99 %\t")
	for _, c := range m.Cells {
		odd := ""
		if !c.Agrees {
			odd = "not as expected"
		}
		fmt.Fprintf(table, "%s × %s\t%s\t%d of %d\t%s\t%s\n", c.A, c.B, percent(&c.Expected), c.Summary.Established, c.Summary.Valid, between(c.CI99), odd)
	}
	return table.Flush()
}

// writeHeatmap draws the lower triangle, a row for each profile.
func writeHeatmap(w io.Writer, m lab.Matrix) {
	cells := map[[2]string]lab.MatrixCell{}
	width := 0
	for _, c := range m.Cells {
		cells[[2]string{c.A, c.B}], cells[[2]string{c.B, c.A}] = c, c
		width = max(width, len(c.A), len(c.B))
	}
	for row, a := range m.Profiles {
		fmt.Fprintf(w, "%*s %2d ", width, a, row+1)
		for _, b := range m.Profiles[:row+1] {
			text := "  "
			if c, ok := cells[[2]string{a, b}]; ok {
				text = square(c)
			}
			fmt.Fprintf(w, " %s", text)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%*s    ", width, "")
	for i := range m.Profiles {
		fmt.Fprintf(w, " %2d", i+1)
	}
	fmt.Fprintf(w, "\n\n")
}

// square is one cell in two columns.
func square(c lab.MatrixCell) string {
	text := "?"
	if s := c.Summary.Success; s != nil {
		switch text = fmt.Sprint(min(9, max(1, int(10**s)))); *s {
		case 0:
			text = "."
		case 1:
			text = "+"
		}
	}
	if !c.Agrees {
		return text + "!"
	}
	return text + " "
}

func writeMatrixSummary(w io.Writer, s lab.MatrixSummary) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "every pair alike\t%s\t%s\t%d of %d meetings\n", percent(s.Success), between(s.CI95), s.Established, s.Valid)
	for _, p := range s.Weighted {
		if p.Success != nil {
			fmt.Fprintf(table, "%s\t%s\t%s\t%.0f %% of its pairs\n", p.Population, percent(p.Success), between(p.CI95), 100*p.Covered)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\ntheory is certain of %d of %d pairs and right in %d of them; Brier score %s\n", s.Certain, s.Cells, s.CertainRight, score(s.Brier))
	if len(s.Disagreements) > 0 {
		fmt.Fprintf(w, "not as expected: %s; by chance alone it would be %.1f pairs on the mean\n", strings.Join(s.Disagreements, ", "), s.Strays)
	}
	_, err := fmt.Fprintf(w, "%d meetings in %v, of which this machine was too slow for %.1f %%, which were run again%s\n", s.Trials, time.Duration(s.Took).Round(time.Second), 100*s.Rerun, memoryOf(s))
	return err
}

// memoryOf says what memory the lab needed, where that is known.
func memoryOf(s lab.MatrixSummary) string {
	if s.Memory == nil {
		return ""
	}
	return fmt.Sprintf("; at most %d MiB of memory", *s.Memory>>20)
}

func writeConfusion(w io.Writer, m lab.Matrix) error {
	s := m.Summary
	if s.Diagnosed == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nthe tool named the true cause of %s of %d failures:\n", percent(s.DiagnosisCorrect), s.Diagnosed)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "truly\tnamed\tthe tool said")
	for _, truth := range slices.Sorted(maps.Keys(s.Confusion)) {
		recall := s.Recall[truth]
		fmt.Fprintf(table, "%s\t%s\t%s\n", truth, percent(&recall), tally(s.Confusion[truth]))
	}
	return table.Flush()
}

func writeJudgements(w io.Writer, s lab.MatrixSummary) error {
	if s.Judged == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nthe captures alone gave the true verdict of %s of %d meetings:\n", percent(s.JudgementCorrect), s.Judged)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "truly\tthe captures said")
	for _, truth := range slices.Sorted(maps.Keys(s.Judgements)) {
		fmt.Fprintf(table, "%s\t%s\n", truth, tally(s.Judgements[truth]))
	}
	return table.Flush()
}

func percent(f *float64) string {
	if f == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100**f)
}

func between(i [2]float64) string { return fmt.Sprintf("%.1f to %.1f %%", 100*i[0], 100*i[1]) }

func score(f *float64) string {
	if f == nil {
		return "–"
	}
	return fmt.Sprintf("%.4f", *f)
}
