package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func init() { classifiers = append(classifiers, classifyLab) }

// classifyLab knows what the lab cannot do here, and nodes that crashed.
func classifyLab(err error) *failure {
	if missing, ok := errors.AsType[*lab.Unavailable](err); ok {
		return &failure{Status: statusUnavailable, Kind: "unavailable", Message: missing.Error(), Hint: mend(missing.Mend)}
	}
	if crash, ok := errors.AsType[*lab.Crash](err); ok {
		if crash.Status == statusUsage {
			return usageError("the clients do not take these flags: "+crash.Stderr, "see 'tcppunch meet --help'")
		}
		return &failure{Status: statusFailed, Kind: "node-crashed", Message: crash.Error(), Hint: "this is a fault of tcppunch or of the lab, not of the networks"}
	}
	if word, ok := errors.AsType[*lab.UnknownWord](err); ok {
		return unknownProfile(word)
	}
	if cannot, ok := errors.AsType[*lab.NotNetfilter](err); ok {
		return usageError(cannot.Error(), "engine=emulated can")
	}
	return nil
}

func mend(command string) string {
	if command == "" {
		return "'tcppunch lab doctor' tells what else the lab needs"
	}
	return "mend it: " + command
}

func unknownProfile(word *lab.UnknownWord) *failure {
	f := usageError(word.Error(), "'tcppunch lab profiles' lists them all")
	if near := nearest(word.Word, word.Valid); near != "" {
		f.Hint = fmt.Sprintf("did you mean %q? %s", near, f.Hint)
	}
	return f
}

func labCommand() *cli.Command {
	return &cli.Command{
		Name:  "lab",
		Usage: "build whole networks on this machine and open connections in them; alone: a demonstration",
		Description: "Alone, the command is a demonstration: two clients with wrong clocks behind two real Linux NATs\n" +
			"synchronise, agree on an instant, launch, cross and authenticate, and the exchange is explained.",
		Flags: []cli.Flag{
			labDelay(), labSkewA(), labSkewB(),
			&cli.StringFlag{Name: "write", Value: "tcppunch-lab.pcapng", Usage: "write the exchange, seen from four places, to `FILE`"},
			&cli.StringFlag{Name: "html", Value: "tcppunch-lab.html", Usage: "write the explained exchange to `FILE`"},
			&cli.BoolFlag{Name: "no-files", Usage: "write no files"},
			jsonFlag(),
		},
		Action:      demonstrate,
		Subcommands: []*cli.Command{labRunCommand(), labMatrixCommand(), labCompareCommand(), labProfilesCommand(), labUpCommand(), labShellCommand(), labWatchCommand(), labBenchCommand(), labDoctorCommand(), labTimeServerCommand()},
	}
}

// The flags that several lab commands share.

func labDelay() cli.Flag {
	return &cli.DurationFlag{Name: "delay", Value: lab.DefaultDelay, Usage: "one way between any two hosts; 0 is plain wires"}
}

func labSkewA() cli.Flag {
	return &cli.DurationFlag{Name: "skew-a", Value: lab.DefaultSkewA, Usage: "how wrong A's clock is"}
}

func labSkewB() cli.Flag {
	return &cli.DurationFlag{Name: "skew-b", Value: lab.DefaultSkewB, Usage: "how wrong B's clock is"}
}

// inLab runs work in the lab's supervisor.
func inLab(c *cli.Context, work func(context.Context) error) error {
	return labStatus(lab.Supervise(c.Context, work))
}

// labStatus hands on the status of a supervisor that has said all itself.
func labStatus(err error) error {
	if ended, ok := errors.AsType[*lab.Ended](err); ok {
		if ended.Status == statusDone {
			return nil
		}
		return exitStatus(ended.Status)
	}
	return err
}

func demonstrate(c *cli.Context) error {
	d := lab.Demonstration{Delay: c.Duration("delay"), SkewA: c.Duration("skew-a"), SkewB: c.Duration("skew-b")}
	if d.Delay < 0 {
		return usageError("a delay cannot be negative", "give --delay 0 for plain wires")
	}
	if !c.Bool("no-files") {
		d.Write, d.HTML = c.String("write"), c.String("html")
	}
	return inLab(c, func(ctx context.Context) error {
		s := streamsOf(c)
		out := s.out
		if c.Bool("json") {
			out = io.Discard
		}
		document, err := lab.Demonstrate(ctx, d, out)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			if err := printJSON(s.out, schemaOf("lab run"), document); err != nil {
				return err
			}
		}
		if !lab.AsExpected(document) {
			return exitStatus(statusNo)
		}
		return nil
	})
}

// signed is a duration with its sign, as one says how wrong a clock is.
func signed(d time.Duration) string {
	if d >= 0 {
		return "+" + d.String()
	}
	return "−" + (-d).String()
}
