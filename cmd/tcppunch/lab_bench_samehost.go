package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labBenchSameHostCommand() *cli.Command {
	return &cli.Command{
		Name:  "same-host",
		Usage: "how two peers on one host meet, of whom neither listens",
		Description: "Both connect over the loopback, in two new processes for each meeting. To allow them one processor,\n" +
			"run it under 'taskset -c 0'.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "meetings", Value: 100, Usage: "one after the other"},
			jsonFlag(),
		},
		Action: labBenchSameHost,
	}
}

func labBenchSameHost(c *cli.Context) error {
	config := lab.SameHostConfig{Meetings: c.Int("meetings")}
	if config.Meetings < 1 {
		return usageError("there must be at least one meeting", "give --meetings 100")
	}
	return bench(c, writeBenchSameHost, func(ctx context.Context, progress func(string)) (lab.SameHostDocument, error) {
		return lab.BenchSameHost(ctx, config, progress)
	})
}

func writeBenchSameHost(w io.Writer, d lab.SameHostDocument) error {
	fmt.Fprintf(w, "%d meetings of two peers on one host, neither listening; %s\n", d.Meetings, machine(d.Machine))
	fmt.Fprintf(w, "connected %d", d.Connected)
	for _, cause := range slices.Sorted(maps.Keys(d.Causes)) {
		fmt.Fprintf(w, ", %s %d", cause, d.Causes[cause])
	}
	if d.Connected == 0 {
		_, err := fmt.Fprintln(w)
		return err
	}
	fmt.Fprintf(w, "\nSYNs of both together: p50 %s, p99 %s, max %s\n", count(d.SYNs.P50), count(d.SYNs.P99), count(d.SYNs.Max))
	fmt.Fprintf(w, "launches apart: p50 %s, p99 %s, max %s\n", briefTime(d.Skew.P50), briefTime(d.Skew.P99), briefTime(d.Skew.Max))
	_, err := fmt.Fprintf(w, "both stood after the later launch: p50 %s, p90 %s, p99 %s, max %s\n",
		briefTime(d.AfterLast.P50), briefTime(d.AfterLast.P90), briefTime(d.AfterLast.P99), briefTime(d.AfterLast.Max))
	return err
}

func count(n *int64) string {
	if n == nil {
		return "–"
	}
	return fmt.Sprint(*n)
}
