package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"tcppunch/cmd/internal/lab"
	"tcppunch/rawsock"
)

func labBenchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "measure launches, bursts, crafting, meetings, the emulator and the analysis of captures on this machine, all variants in one run",
		Description: "Everything runs in namespaces that the command makes. Figures of two runs, or of two machines,\n" +
			"compare badly; those of one run compare well, since the variants take turns.",
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageError(fmt.Sprintf("%q is no benchmark", c.Args().First()), "there are launch, burst, craft, same-host, emulator and captures")
			}
			return usageError("name a benchmark", "there are launch, burst, craft, same-host, emulator and captures")
		},
		Subcommands: []*cli.Command{labBenchLaunchCommand(), labBenchBurstCommand(), labBenchCraftCommand(), labBenchSameHostCommand(), labBenchEmulatorCommand(), labBenchCapturesCommand(),
			labBenchLaunchNodeCommand(), labBenchBurstNodeCommand(), labBenchCraftNodeCommand(), labBenchBusyCommand()},
	}
}

func labBenchLaunchCommand() *cli.Command {
	return &cli.Command{
		Name:  "launch",
		Usage: "how late SYNs leave, by Go's timer, by spinning, with priority and in real time",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "launches", Value: 500, Usage: "of each variant in each condition"},
			&cli.IntFlag{Name: "busy", Value: 2, Usage: "busy processes in the second condition; 0 for none"},
			&cli.DurationFlag{Name: "spacing", Value: 30 * time.Millisecond, Usage: "between launches, at least 20ms"},
			jsonFlag(),
		},
		Action: labBenchLaunch,
	}
}

func labBenchLaunch(c *cli.Context) error {
	config := lab.BenchConfig{Launches: c.Int("launches"), Busy: c.Int("busy"), Spacing: c.Duration("spacing")}
	switch {
	case config.Launches < 1 || config.Busy < 0:
		return usageError("there must be at least one launch, and no less than no busy process", "give --launches 500 --busy 2")
	case config.Spacing < 20*time.Millisecond:
		return usageError("launches that are closer than 20ms disturb each other", "give --spacing 20ms or more")
	}
	return bench(c, writeBenchLaunch, func(ctx context.Context, progress func(string)) (lab.BenchDocument, error) {
		return lab.BenchLaunch(ctx, config, progress)
	})
}

// bench carries a benchmark out in a lab and prints what it measured.
func bench[T any](c *cli.Context, write func(io.Writer, T) error, measure func(ctx context.Context, progress func(string)) (T, error)) error {
	return inLab(c, func(ctx context.Context) error {
		document, err := measure(ctx, benchProgress(streamsOf(c)))
		if err != nil {
			return err
		}
		return benchResult(c, document, func(w io.Writer) error { return write(w, document) })
	})
}

// benchResult is result with one schema for all benchmarks.
func benchResult(c *cli.Context, document any, text func(io.Writer) error) error {
	out := streamsOf(c).out
	if c.Bool("json") {
		return printJSON(out, schemaOf("lab bench"), document)
	}
	return text(out)
}

func benchProgress(s streams) func(string) {
	file, ok := s.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil
	}
	return func(what string) { fmt.Fprintf(s.err, "\r\x1b[K%s ", what) }
}

func writeBenchLaunch(w io.Writer, d lab.BenchDocument) error {
	fmt.Fprintf(w, "SYN at the tap minus the instant; the distance between the SYNs of two launchers\n")
	fmt.Fprintf(w, "%d launches of each variant on either side, %v apart; %s\n", d.Launches, time.Duration(d.Spacing), machine(d.Machine))
	for _, condition := range d.Conditions {
		fmt.Fprintf(w, "\n%s\n", beside(condition.Busy))
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "variant\treached\tlate p50\tp90\tp99\tmax\tskew p50\tp99\tmax\ttimer p99 ÷\tmissed")
		for _, r := range condition.Variants {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", r.Variant, reached(r.Privileges),
				briefTime(r.Lateness.P50), briefTime(r.Lateness.P90), briefTime(r.Lateness.P99), briefTime(r.Lateness.Max),
				briefTime(r.Skew.P50), briefTime(r.Skew.P99), briefTime(r.Skew.Max), ratio(r.Ratio), r.Missed)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func beside(busy int) string {
	if busy == 0 {
		return "idle"
	}
	return fmt.Sprintf("beside %d busy processes", busy)
}

func machine(m lab.BenchMachine) string {
	return fmt.Sprintf("Linux %s, %d processors, load %s before and %s after", m.Kernel, m.Processors, m.LoadBefore, m.LoadAfter)
}

func ratio(r *float64) string {
	if r == nil {
		return "–"
	}
	return fmt.Sprintf("%.1f", *r)
}

// reached tells in a few words what a node's thread was granted.
func reached(text json.RawMessage) string {
	var p rawsock.Privileges
	if len(text) == 0 || json.Unmarshal(text, &p) != nil || p.Step == rawsock.StepUnknown {
		return "–"
	}
	if !p.FIFO {
		return fmt.Sprintf("nice %d", p.Nice)
	}
	if p.MemoryLocked {
		return "fifo, memory locked"
	}
	return "fifo"
}

func labBenchBurstCommand() *cli.Command {
	return &cli.Command{
		Name:  "burst",
		Usage: "how long many SYNs take, from prepared sockets, from none, and crafted by sendmmsg",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "syns", Value: 1000, Usage: "in a burst, at most 10000"},
			&cli.IntFlag{Name: "rounds", Value: 50, Usage: "bursts of each variant"},
			jsonFlag(),
		},
		Action: labBenchBurst,
	}
}

func labBenchBurst(c *cli.Context) error {
	config := lab.BurstConfig{SYNs: c.Int("syns"), Rounds: c.Int("rounds")}
	if config.SYNs < 1 || config.SYNs > 10000 || config.Rounds < 1 {
		return usageError("a burst is of 1 to 10000 SYNs, in at least one round", "give --syns 1000 --rounds 50")
	}
	return bench(c, writeBenchBurst, func(ctx context.Context, _ func(string)) (lab.BurstDocument, error) {
		return lab.BenchBurst(ctx, config)
	})
}

func writeBenchBurst(w io.Writer, d lab.BurstDocument) error {
	fmt.Fprintf(w, "bursts of %d SYNs, %d of each variant in turn; %s\n\n", d.SYNs, d.Rounds, machine(d.Machine))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "variant\tmedian\tper SYN")
	for _, v := range lab.BurstVariants {
		median := time.Duration(d.Median[v])
		fmt.Fprintf(table, "%s\t%v\t%v\n", v, median.Round(time.Microsecond), (median / time.Duration(d.SYNs)).Round(10*time.Nanosecond))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nunprepared takes %.2f times as long as prepared, bare %.2f times, and prepared %.2f times as long as sendmmsg (medians; %s)\n",
		d.UnpreparedToPrepared, d.BareToPrepared, d.PreparedToSendmmsg, reached(d.Privileges))
	return err
}
