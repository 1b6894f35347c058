package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// poolServers are asked where the user names nothing.
var poolServers = []string{"0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "3.pool.ntp.org"}

// sampleSpacing separates the samples from one server, so that one queue that
// builds up on the way does not spoil them all.
const sampleSpacing = 10 * time.Millisecond

func init() { classifiers = append(classifiers, classifyTime) }

func classifyTime(err error) *failure {
	switch {
	case errors.Is(err, timing.ErrNoAnswer):
		return &failure{Status: statusFailed, Kind: "no-answer", Message: err.Error(),
			Hint: "name a reachable server with --ntp; UDP port 123 must be let through"}
	case errors.Is(err, timing.ErrNoMajority):
		return &failure{Status: statusFailed, Kind: "no-majority", Message: err.Error(),
			Hint: "name more servers with --ntp, so that a majority can be told"}
	}
	return nil
}

func syncCommand() *cli.Command {
	return &cli.Command{
		Name:  "sync",
		Usage: "measure how wrong this machine's clock is, with a bound",
		Description: "Asks time servers (RFC 5905) and prints the offset of this clock. Without --ntp and --coordinator\n" +
			"the NTP pool is asked. Public servers are asked at most twice and not again for half an hour, private\n" +
			"ones and the coordinator --samples times. With --watch every --interval one exchange is made with each\n" +
			"(64 s apart with public servers), until Ctrl-C or --count. No clock is set.",
		Flags: append(clockFlags(),
			&cli.StringFlag{Name: "coordinator", Usage: "ask this coordinator over its own connection, `KEY@HOST:PORT`"},
			&cli.IntFlag{Name: "samples", Value: 8, Usage: "exchanges with each private server"},
			&cli.BoolFlag{Name: "watch", Usage: "go on measuring, one line for each update"},
			&cli.DurationFlag{Name: "interval", Value: time.Second, Usage: "with --watch: an update each `D`"},
			&cli.IntFlag{Name: "count", Usage: "with --watch: end after `N` updates; 0: with Ctrl-C"},
			&cli.StringFlag{Name: "svg", Usage: "with --watch: draw offset and bound over time into this `FILE`"},
			stateFlag(),
			jsonFlag(),
			&cli.BoolFlag{Name: "json-stream", Usage: "print each estimate as a JSON line"},
		),
		Action: runSync,
	}
}

// clockFlags say what the time is, for all commands that need it.
func clockFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "ntp", Usage: "ask this time server, `HOST[:PORT]`; may be repeated"},
		&cli.DurationFlag{Name: "clock-error", Usage: "for experiments: put this process's clock `D` ahead"},
		&cli.Float64Flag{Name: "clock-drift-ppm", Usage: "for experiments: let this process's clock gain `F` µs per second"},
	}
}

// clockOf is the local timescale that the flags ask for.
func clockOf(c *cli.Context) (*timing.Clock, error) {
	drift := c.Float64("clock-drift-ppm")
	if !(drift > -100_000 && drift < 100_000) {
		return nil, usageError(fmt.Sprintf("a drift of %v ppm is no clock", drift), "--clock-drift-ppm is less than 100000 either way")
	}
	return timing.NewClock(c.Duration("clock-error"), drift), nil
}

// ntpSources are the servers that --ntp names, or otherwise ones, as asked by
// the function ask.
func ntpSources(c *cli.Context, otherwise []string, ask func(server string) timing.Source) ([]timing.Source, error) {
	servers := c.StringSlice("ntp")
	if len(servers) == 0 {
		servers = otherwise
	}
	var sources []timing.Source
	for _, s := range servers {
		if err := timing.CheckServer(s); err != nil {
			return nil, usageError("--ntp: "+err.Error(), "such as --ntp 192.0.2.1, --ntp pool.ntp.org:123 or --ntp [2001:db8::1]:123")
		}
		sources = append(sources, ask(s))
	}
	return sources, nil
}

func runSync(c *cli.Context) error {
	if n := c.Int("samples"); n < 1 || n > 1000 {
		return usageError(fmt.Sprintf("%d samples cannot be taken", n), "--samples is from 1 to 1000")
	}
	if err := checkWatchFlags(c); err != nil {
		return err
	}
	clock, err := clockOf(c)
	if err != nil {
		return err
	}
	sources, err := syncSources(c, clock)
	if err != nil {
		return err
	}
	if c.String("coordinator") != "" {
		client, err := dialCoordinator(c, clock)
		if err != nil {
			return err
		}
		defer client.Close()
		sources = append(sources, client.Source())
	}
	if c.Bool("watch") {
		return watchTime(c, clock, sources)
	}
	e, err := timing.Sync(c.Context, clock, sources, c.Int("samples"), sampleSpacing)
	if err != nil {
		return err
	}
	if c.Bool("json-stream") {
		return printJSON(streamsOf(c).out, schemaOf("sync"), e)
	}
	return result(c, e, func(w io.Writer) error { return writeEstimate(w, e) })
}

// syncSources are the NTP servers to ask. A watch asks seldom by itself and
// needs no cache.
func syncSources(c *cli.Context, clock *timing.Clock) ([]timing.Source, error) {
	otherwise := poolServers
	if c.String("coordinator") != "" {
		otherwise = nil
	}
	var cache timing.Cache
	if !c.Bool("watch") {
		cache = timeCache(c)
	}
	return ntpSources(c, otherwise, func(server string) timing.Source { return cache.NTP(server, clock) })
}

// timeCache keeps what public time servers said, where this user has a place
// for it.
func timeCache(c *cli.Context) timing.Cache {
	dir := stateDir(c)
	if dir == "" {
		return timing.Cache{}
	}
	return timing.Cache{Dir: filepath.Join(dir, "time")}
}

// dialCoordinator connects to the coordinator for its time alone, under a key
// that is forgotten afterwards.
func dialCoordinator(c *cli.Context, clock *timing.Clock) (*rendezvous.Client, error) {
	address, err := coordinatorAddress(c)
	if err != nil {
		return nil, err
	}
	identity, err := rendezvous.NewIdentity()
	if err != nil {
		return nil, err
	}
	return rendezvous.Dial(c.Context, address, identity, clock)
}

// writeEstimate says the offset in a sentence and shows the servers in a table.
func writeEstimate(w io.Writer, e timing.Estimate) error {
	fmt.Fprintf(w, "this clock is %s, ± %s for certain (± %s in 99 %%)\n", slowOrFast(e.Offset), brief(e.Bound), brief(e.Uncertainty))
	if e.Stepped {
		fmt.Fprintln(w, "the wall clock was set meanwhile; the offset is that of the clock before")
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nserver\tstratum\toffset\tbound\tdelay\tsamples\tverdict")
	for _, s := range e.Servers {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", serverName(s), numberOrDash(s.Stratum), durationOrDash(s.Offset),
			durationOrDash(s.Bound), durationOrDash(s.Delay), s.Samples, verdictText(s))
	}
	return t.Flush()
}

func slowOrFast(offset time.Duration) string {
	switch {
	case offset > 0:
		return brief(offset) + " slow"
	case offset < 0:
		return brief(-offset) + " fast"
	}
	return "right"
}

// brief is a duration in nanoseconds below a millisecond, else in microseconds.
func brief(d time.Duration) string {
	if d.Abs() < time.Millisecond {
		return d.String()
	}
	return d.Round(time.Microsecond).String()
}

func serverName(s timing.Server) string {
	if s.Address != s.Name {
		return fmt.Sprintf("%s (%s)", s.Name, s.Address)
	}
	return s.Name
}

func numberOrDash(n *int) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

func durationOrDash(d *time.Duration) string {
	if d == nil {
		return "-"
	}
	return brief(*d)
}

// verdictText adds the reason where the verdict alone does not say it.
func verdictText(s timing.Server) string {
	reason := ""
	if s.Error != nil {
		reason = ": " + *s.Error
	}
	return s.Verdict.String() + reason
}
