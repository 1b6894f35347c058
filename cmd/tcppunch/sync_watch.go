package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/timing"
)

func checkWatchFlags(c *cli.Context) error {
	if !c.Bool("watch") {
		for _, f := range []string{"interval", "count", "svg"} {
			if c.IsSet(f) {
				return usageError("--"+f+" is about --watch", "add --watch, or leave --"+f+" out")
			}
		}
		return nil
	}
	switch {
	case c.Duration("interval") < 10*time.Millisecond:
		return usageError(fmt.Sprintf("an interval of %v is too short", c.Duration("interval")), "--interval is 10ms or longer")
	case c.Int("count") < 0:
		return usageError(fmt.Sprintf("%d updates cannot be made", c.Int("count")), "--count is 0 (until Ctrl-C) or more")
	case c.Bool("json") && c.Int("count") == 0:
		return usageError("--watch --json prints one document at the end, which needs --count", "use --json-stream for one document an update, or name a --count")
	}
	return nil
}

// watched is one update of --watch.
type watched struct {
	At          time.Time `json:"at"`          // reference time
	Disturbance *string   `json:"disturbance"` // of this machine's clocks since the last update; null: none
	timing.Estimate
}

// watchedMost bounds what a long watch holds for the drawing.
const watchedMost = 10_000

// timeWatch is the state of a --watch.
type timeWatch struct {
	c       *cli.Context
	clock   *timing.Clock
	track   *timing.Track
	history []watched
	failed  error // of the last update
}

// watchTime measures until --count or the end of the context. Losses are told
// and do not end it; if there was never an estimate the last one is the result.
func watchTime(c *cli.Context, clock *timing.Clock, sources []timing.Source) error {
	w := &timeWatch{c: c, clock: clock, track: timing.NewTrack(clock, sources)}
	err := w.run(c.Context)
	if file := c.String("svg"); file != "" && len(w.history) > 0 {
		err = errors.Join(err, os.WriteFile(file, []byte(drawEstimates(w.history)), 0o644))
	}
	if err == nil && len(w.history) == 0 {
		err = w.failed
	}
	if err == nil && c.Bool("json") {
		err = printJSON(streamsOf(c).out, schemaOf("sync"), w.history[len(w.history)-1])
	}
	return err
}

func (w *timeWatch) run(ctx context.Context) error {
	ticker := time.NewTicker(w.c.Duration("interval"))
	defer ticker.Stop()
	count := w.c.Int("count")
	for n := 1; ; n++ {
		e, disturbed, err := w.track.Update(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if w.failed = err; err != nil {
			streamsOf(w.c).say("%v", err)
		} else if err := w.show(e, disturbed); err != nil {
			return err
		}
		if n == count {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *timeWatch) show(e timing.Estimate, disturbed timing.Disturbance) error {
	u := watched{At: e.Reference(w.clock, e.At).UTC(), Estimate: e}
	if disturbed.Any() {
		text := disturbed.String()
		u.Disturbance = &text
	}
	w.history = append(w.history[max(0, len(w.history)-watchedMost+1):], u)
	out := streamsOf(w.c).out
	if w.c.Bool("json-stream") {
		return printJSON(out, schemaOf("sync"), u)
	}
	if w.c.Bool("json") {
		return nil
	}
	if disturbed.Any() {
		streamsOf(w.c).say("%s", *u.Disturbance)
	}
	_, err := fmt.Fprintln(out, watchLine(u, w.history[0]))
	return err
}

// watchLine is one update in one line, with a gauge of offset and bound on the
// scale of the first update.
func watchLine(u, first watched) string {
	frequency := "      -    "
	if u.FrequencyPPM != nil {
		frequency = fmt.Sprintf("%+7.2f ppm", *u.FrequencyPPM)
	}
	return fmt.Sprintf("%s  %14s ± %-12s (± %s)  %s  %s", u.At.Format("15:04:05.000"), brief(u.Offset), brief(u.Bound), brief(u.Uncertainty), frequency,
		gauge(u.Offset-first.Offset, u.Bound, first.Bound))
}

// gaugeHalf is how many characters a gauge has on either side of the middle.
const gaugeHalf = 15

// gauge shows a value with its bound on a scale from −2 to 2 times the unit.
func gauge(value, bound, unit time.Duration) string {
	cell := func(d time.Duration) int {
		x := float64(d) / float64(2*cmp.Or(unit, 1)) * gaugeHalf
		return gaugeHalf + int(max(-gaugeHalf, min(x, gaugeHalf)))
	}
	low, middle, high := cell(value-bound), cell(value), cell(value+bound)
	var b strings.Builder
	for i := range 2*gaugeHalf + 1 {
		switch {
		case i == middle:
			b.WriteRune('●')
		case i == low:
			b.WriteRune('├')
		case i == high:
			b.WriteRune('┤')
		case i > low && i < high:
			b.WriteRune('─')
		default:
			b.WriteRune(' ')
		}
	}
	return "│" + b.String() + "│"
}
