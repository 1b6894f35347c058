package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labBenchCapturesCommand() *cli.Command {
	return &cli.Command{
		Name:  "captures",
		Usage: "how fast captures are analysed, beside tcpdump, tcptrace and tshark where these are installed",
		Description: "All read the same file, in turns; it is made up unless one is named. With --write the file is\n" +
			"only made, for other uses.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Usage: "read this `FILE`"},
			&cli.StringFlag{Name: "write", Usage: "make a `FILE` and measure nothing; classic pcap if it ends in .pcap"},
			&cli.IntFlag{Name: "packets", Value: 5_000_000, Usage: "in the file that is made"},
			&cli.IntFlag{Name: "flows", Value: 500_000, Usage: "openings in it"},
			&cli.IntFlag{Name: "live", Value: 20_000, Usage: "of these at the same time; 0 for all"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "the same `NUMBER` makes the same file"},
			&cli.IntFlag{Name: "rounds", Value: 3, Usage: "how often each reads the file"},
			&cli.DurationFlag{Name: "patience", Value: time.Minute, Usage: "how long a reader may take before it is ended"},
			&cli.BoolFlag{Name: "tshark", Usage: "let tshark read it too, which takes minutes"},
			jsonFlag(),
		},
		Action: labBenchCaptures,
	}
}

func labBenchCaptures(c *cli.Context) error {
	made := lab.CaptureConfig{Packets: c.Int("packets"), Flows: c.Int("flows"), Live: c.Int("live"), Seed: c.Uint64("seed"), Classic: true}
	switch {
	case made.Flows < 1 || made.Packets < made.Flows || made.Live < 0:
		return usageError("every flow has a packet at least", "give --packets 5000000 --flows 500000 --live 20000")
	case c.Duration("patience") <= 0:
		return usageError("nobody reads a file in no time", "give --patience 1m")
	case c.Int("rounds") < 1:
		return usageError("there must be at least one round", "give --rounds 3")
	}
	if path := c.String("write"); path != "" {
		made.Classic = isClassic(path)
		return makeCapture(path, made)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	config := lab.CapturesConfig{File: c.String("file"), Made: made, Rounds: c.Int("rounds"), Patience: c.Duration("patience").Nanoseconds(), Program: program, Tshark: c.Bool("tshark")}
	document, err := lab.BenchCaptures(c.Context, config, benchProgress(streamsOf(c)))
	if err != nil {
		return err
	}
	return benchResult(c, document, func(w io.Writer) error { return writeBenchCaptures(w, document) })
}

func makeCapture(path string, config lab.CaptureConfig) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(lab.WriteCapture(f, config), f.Close())
}

func writeBenchCaptures(w io.Writer, d lab.CapturesDocument) error {
	fmt.Fprintf(w, "%d packets, %d MiB, median of %d rounds; %s\n\n", d.Packets, d.Bytes>>20, d.Rounds, machine(d.Machine))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "reader\ttime\tprocessor time\tMpackets/s\tpeak memory\ttimes as long")
	for _, r := range d.Readers {
		if r.CutOff {
			fmt.Fprintf(table, "%s\tended after %v\t\t\t%d MiB\tmore than %.2f\n", r.Name, time.Duration(r.Median).Round(time.Second), r.Memory>>20, r.Times)
			continue
		}
		fmt.Fprintf(table, "%s\t%v\t%v\t%.2f\t%d MiB\t%.2f\n", r.Name, time.Duration(r.Median).Round(time.Millisecond),
			time.Duration(r.CPU).Round(time.Millisecond), r.Rate/1e6, r.Memory>>20, r.Times)
	}
	return table.Flush()
}
