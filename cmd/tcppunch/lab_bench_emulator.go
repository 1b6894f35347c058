package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labBenchEmulatorCommand() *cli.Command {
	return &cli.Command{
		Name:  "emulator",
		Usage: "how exact the delay of the lab's core is, and how many packets it moves",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "delay", Value: 20 * time.Millisecond, Usage: "one way"},
			&cli.IntFlag{Name: "packets", Value: 5000, Usage: "whose delay is measured in each condition, one per millisecond or so"},
			&cli.IntFlag{Name: "burst", Value: 500000, Usage: "packets that are sent as fast as they go, with 0, 1 and 2 boxes on the way"},
			&cli.IntFlag{Name: "busy", Value: 2, Usage: "busy processes in the second condition; 0 for none"},
			&cli.StringFlag{Name: "device", Value: "auto", Usage: "tun, packet, or auto: tun where it can be had"},
			jsonFlag(),
		},
		Action: labBenchEmulator,
	}
}

func labBenchEmulator(c *cli.Context) error {
	config := lab.EmulatorConfig{Delay: c.Duration("delay"), Packets: c.Int("packets"), Burst: c.Int("burst"), Busy: c.Int("busy")}
	if err := config.Device.UnmarshalText([]byte(c.String("device"))); err != nil {
		return usageError(fmt.Sprintf("%q is no device", c.String("device")), "there are auto, tun and packet")
	}
	if config.Packets < 1 || config.Burst < 1 || config.Busy < 0 || config.Delay < 0 || config.Delay > time.Minute {
		return usageError("there must be packets to measure, and a delay of up to a minute", "give --packets 5000 --burst 500000 --delay 20ms")
	}
	return bench(c, writeBenchEmulator, func(ctx context.Context, progress func(string)) (lab.EmulatorDocument, error) {
		return lab.BenchEmulator(ctx, config, progress)
	})
}

func writeBenchEmulator(w io.Writer, d lab.EmulatorDocument) error {
	fmt.Fprintf(w, "the core with %s, %s; %s\n\n", device(d.Device.String()), realTime(d.RealTime), machine(d.Machine))
	fmt.Fprintf(w, "arrival at the receiving kernel minus sending, minus the delay of %v; and sent minus due, by the core\n", time.Duration(d.Delay))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "condition\tpackets\tmissing\terror p50\tp90\tp99\tmax\tcore late p50\tp90\tp99\tmax")
	for _, x := range d.Conditions {
		fmt.Fprintf(table, "%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", beside(x.Busy), x.Packets, x.Missing,
			briefTime(x.Error.P50), briefTime(x.Error.P90), briefTime(x.Error.P99), briefTime(x.Error.Max),
			briefTime(x.Lateness.P50), briefTime(x.Lateness.P90), briefTime(x.Lateness.P99), briefTime(x.Lateness.Max))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(table, "boxes on the way\tdelivered\tdropped\tpackets/s\tpackets per CPU second of the core")
	for _, r := range d.Throughput {
		fmt.Fprintf(table, "%d\t%d\t%d\t%.0f\t%.0f\n", r.Boxes, r.Packets, r.Dropped, r.PerSecond, r.PerCPUSecond)
	}
	return table.Flush()
}

func device(kind string) string {
	if kind == "tun" {
		return "TUN devices"
	}
	return "packet sockets"
}

func realTime(granted bool) string {
	if granted {
		return "in real time"
	}
	return "without real time"
}
