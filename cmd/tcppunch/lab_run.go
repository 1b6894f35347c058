package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"tcppunch/cmd/internal/lab"
)

func labRunCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "let two clients meet through two chosen networks, as often as wanted, and count",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "a", Value: "linux", Usage: "`PROFILE` of A's side; see 'tcppunch lab profiles'"},
			&cli.StringFlag{Name: "b", Value: "linux", Usage: "`PROFILE` of B's side"},
			labDelay(),
			&cli.DurationFlag{Name: "jitter", Usage: "at most this much more or less delay, for each packet"},
			&cli.Float64Flag{Name: "loss", Usage: "share of packets lost one way, 0 to 1"},
			labSkewA(), labSkewB(),
			&cli.DurationFlag{Name: "late-b", Usage: "B launches this much after the agreed instant"},
			&cli.BoolFlag{Name: "no-sync", Usage: "the clients trust their wrong clocks"},
			&cli.IntFlag{Name: "retries", Value: -1, Usage: "further attempts after a refusal; -1 is the default of meet"},
			&cli.IntFlag{Name: "budget", Usage: "SYNs that may leave; 0 is the default of meet"},
			&cli.DurationFlag{Name: "timeout", Usage: "of the meeting; 0 is the default of meet"},
			&cli.StringFlag{Name: "strategy", Usage: "of meet"},
			&cli.IntFlag{Name: "low-ttl", Usage: "of meet"},
			labTransport(),
			&cli.DurationFlag{Name: "residual-a", Usage: "A compares the clocks wrongly by this much, and says so in the bound"},
			&cli.IntFlag{Name: "busy", Usage: "processes that keep processors busy meanwhile"},
			&cli.IntFlag{Name: "trials", Value: 1, Usage: "meetings, each in a network of its own"},
			&cli.IntFlag{Name: "parallel", Value: 1, Usage: "meetings at a time; more than half the processors cost precision"},
			&cli.StringFlag{Name: "keep", Usage: "keep captures, reports, logs and the boxes' decisions of every trial in `DIR`"},
			jsonFlag(),
		},
		Action: labRun,
	}
}

func labRun(c *cli.Context) error {
	config, err := labConfig(c)
	if err != nil {
		return err
	}
	return inLab(c, func(ctx context.Context) error {
		document, err := lab.Run(ctx, config, labProgress(streamsOf(c), config.Trials))
		if err != nil {
			return err
		}
		return result(c, document, func(w io.Writer) error { return writeTrials(w, document) })
	})
}

func labConfig(c *cli.Context) (lab.Config, error) {
	config := lab.Config{
		Delay: c.Duration("delay"), Jitter: c.Duration("jitter"), Loss: c.Float64("loss"),
		SkewA: c.Duration("skew-a"), SkewB: c.Duration("skew-b"), LateB: c.Duration("late-b"), NoSync: c.Bool("no-sync"),
		Retries: c.Int("retries"), Budget: c.Int("budget"), Timeout: c.Duration("timeout"), Strategy: c.String("strategy"), Transport: c.String("transport"),
		LowTTL: c.Int("low-ttl"), ResidualA: c.Duration("residual-a"), Busy: c.Int("busy"),
		Trials: c.Int("trials"), Parallel: c.Int("parallel"), Keep: c.String("keep"),
	}
	var err error
	if config.A, err = lab.ParseProfile(c.String("a")); err != nil {
		return config, profileError("a", err)
	}
	if config.B, err = lab.ParseProfile(c.String("b")); err != nil {
		return config, profileError("b", err)
	}
	if err := checkLabStrategy(c); err != nil {
		return config, err
	}
	if err := checkLabTransport(c); err != nil {
		return config, err
	}
	switch {
	case config.Delay < 0 || config.Jitter < 0:
		return config, usageError("delay and jitter cannot be negative", "--delay 0 is plain wires")
	case !(config.Loss >= 0 && config.Loss <= 1):
		return config, usageError("the loss is not a share from 0 to 1", "a tenth is --loss 0.1")
	case config.Trials < 1 || config.Parallel < 1 || config.Busy < 0:
		return config, usageError("there must be at least one trial, one at a time", "give --trials and --parallel at least 1")
	}
	return config, nil
}

func profileError(flag string, err error) error {
	if f := classifyLab(err); f != nil {
		f.Message = "--" + flag + ": " + f.Message
		return f
	}
	return usageError("--"+flag+": "+err.Error(), "'tcppunch lab profiles' lists what there is")
}

// labProgress counts trials on a terminal, and is silent elsewhere.
func labProgress(s streams, trials int) func(lab.Trial) {
	file, ok := s.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) || trials < 2 {
		return nil
	}
	done, connected := 0, 0
	return func(t lab.Trial) {
		if t.Valid {
			done++
		}
		if t.Valid && t.Established {
			connected++
		}
		fmt.Fprintf(s.err, "\r%d of %d trials, %d connected ", done, trials, connected)
		if done == trials {
			fmt.Fprint(s.err, "\r\x1b[K")
		}
	}
}

func writeTrials(w io.Writer, d lab.Document) error {
	fmt.Fprintf(w, "%s × %s%s, %v one way, clocks wrong by %s and %s\n\n", d.A, d.B, overTransport(d.Transport), time.Duration(d.Delay), signed(time.Duration(d.SkewA)), signed(time.Duration(d.SkewB)))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	packets := "SYNs"
	if d.Transport == lab.UDP {
		packets = "datagrams"
	}
	fmt.Fprintf(table, "trial\tconnected\tverdict\tB−A\t%s a\t%s b\testablished\tauthenticated\twhy not\n", packets, packets)
	for i, t := range d.Trials {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i+1, outcome(t), orDash(t.Verdict), briefTime(t.Skew),
			number(t.SYNsA), number(t.SYNsB), briefTime(t.EstablishedAfter), briefTime(t.AuthenticatedAfter), why(t))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return writeSummary(w, d.Summary)
}

func writeSummary(w io.Writer, s lab.Summary) error {
	fmt.Fprintf(w, "\n%d of %d connected (95 %% interval %.3f to %.3f)", s.Established, s.Valid, s.CI95[0], s.CI95[1])
	if invalid := s.Trials - s.Valid; invalid > 0 {
		fmt.Fprintf(w, "; %d more trials do not count, since this machine was too slow for them", invalid)
	}
	fmt.Fprintln(w)
	if q := s.EstablishedAfter; q.P50 != nil {
		fmt.Fprintf(w, "established after the agreed instant: median %s, p95 %s, max %s\n", briefTime(q.P50), briefTime(q.P95), briefTime(q.Max))
	}
	if len(s.Verdicts) > 0 {
		fmt.Fprintf(w, "verdicts: %s\n", tally(s.Verdicts))
	}
	if len(s.Causes) > 0 {
		fmt.Fprintf(w, "causes of failure: %s\n", tally(s.Causes))
	}
	if s.DiagnosisCorrect != nil {
		fmt.Fprintf(w, "diagnosis right in %.0f %% of %d failures whose cause the lab knows\n", 100**s.DiagnosisCorrect, s.Diagnosed)
	}
	if s.JudgementCorrect != nil {
		fmt.Fprintf(w, "the captures alone gave the true verdict of %s of %d trials\n", percent(s.JudgementCorrect), s.Judged)
	}
	return nil
}

func tally(counts map[string]int) string {
	var parts []string
	for word, n := range counts {
		parts = append(parts, fmt.Sprintf("%s %d", word, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func outcome(t lab.Trial) string {
	switch {
	case !t.Valid:
		return "invalid"
	case t.Established:
		return "yes"
	}
	return "no"
}

// why is the tool's cause of a failure, and the lab's own where it differs.
func why(t lab.Trial) string {
	if !t.Valid && t.InvalidReason != nil {
		return *t.InvalidReason
	}
	text := orDash(t.Cause)
	if t.TrueCause != nil && (t.Cause == nil || *t.Cause != *t.TrueCause) {
		text += " (truly " + *t.TrueCause + ")"
	}
	return text
}

func orDash(s *string) string {
	if s == nil {
		return "–"
	}
	return *s
}

func number(n *int64) string {
	if n == nil {
		return "–"
	}
	return fmt.Sprint(*n)
}

// briefTime shows a duration with three digits after a unit that fits.
func briefTime(ns *int64) string {
	if ns == nil {
		return "–"
	}
	d := time.Duration(*ns)
	if d > time.Millisecond || d < -time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}
