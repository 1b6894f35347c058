package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labCompareCommand() *cli.Command {
	return &cli.Command{
		Name:   "compare",
		Usage:  "let every pair of networks meet over TCP and over UDP, and print what either reaches",
		Flags:  append(matrixFlags(3), jsonFlag()),
		Action: labCompare,
	}
}

func labCompare(c *cli.Context) error {
	config, err := matrixConfig(c)
	if err != nil {
		return err
	}
	return inLab(c, func(ctx context.Context) error {
		var both [2]lab.Matrix
		for i, transport := range []string{lab.TCP, lab.UDP} {
			config.Transport = transport
			var err error
			if both[i], err = lab.RunMatrix(ctx, config, matrixProgress(streamsOf(c), false)); err != nil {
				return fmt.Errorf("over %s: %w", transport, err)
			}
		}
		comparison := lab.Compare(config.Profiles, both[0], both[1])
		return result(c, comparison, func(w io.Writer) error { return writeComparison(w, comparison) })
	})
}

// writeComparison prints tables in Markdown, which docs/lab.md takes as they are.
func writeComparison(w io.Writer, c lab.Comparison) error {
	fmt.Fprintf(w, "%d networks, %v one way, a budget of %d packets a side.\n\n", len(c.TCP.Profiles), time.Duration(c.TCP.Delay), c.TCP.Budget)
	fmt.Fprintf(w, "| kind of pair | pairs | TCP | 95 %% | UDP | 95 %% |\n|---|---|---|---|---|---|\n")
	for _, k := range c.Classes {
		fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %s |\n", k.Class, k.Pairs, shareText(k.TCP), between(k.TCP.CI95), shareText(k.UDP), between(k.UDP.CI95))
	}
	fmt.Fprintf(w, "\n| both sides drawn from | covered | TCP | 95 %% | UDP | 95 %% |\n|---|---|---|---|---|---|\n")
	for i, p := range c.TCP.Summary.Weighted {
		q := c.UDP.Summary.Weighted[i]
		fmt.Fprintf(w, "| %s | %.0f %% | %s | %s | %s | %s |\n", p.Population, 100*p.Covered, percent(p.Success), between(p.CI95), percent(q.Success), between(q.CI95))
	}
	fmt.Fprintf(w, "\nPairs in which one transport connected more often:\n\n")
	for i, t := range c.TCP.Cells {
		u := c.UDP.Cells[i]
		if t.Summary.Established*u.Summary.Valid != u.Summary.Established*t.Summary.Valid {
			fmt.Fprintf(w, "- `%s` × `%s`: TCP %d of %d, UDP %d of %d\n", t.A, t.B, t.Summary.Established, t.Summary.Valid, u.Summary.Established, u.Summary.Valid)
		}
	}
	_, err := fmt.Fprintf(w, "\nTheory was certain of %d pairs over TCP and right in %d, over UDP of %d and right in %d.\n",
		c.TCP.Summary.Certain, c.TCP.Summary.CertainRight, c.UDP.Summary.Certain, c.UDP.Summary.CertainRight)
	return err
}

func shareText(s lab.Share) string {
	return fmt.Sprintf("%d of %d (%s)", s.Established, s.Valid, percent(s.Success))
}
