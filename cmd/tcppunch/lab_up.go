package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labUpCommand() *cli.Command {
	return &cli.Command{
		Name:  "up",
		Usage: "build a lab with its servers and keep it running until Ctrl-C",
		Flags: labNetworkFlags(),
		Action: func(c *cli.Context) error {
			config, err := labNetwork(c)
			if err != nil {
				return err
			}
			return inLab(c, func(ctx context.Context) error {
				err := lab.Up(ctx, config, streamsOf(c).err)
				if errors.Is(err, context.Canceled) {
					return nil
				}
				return err
			})
		},
	}
}

func labWatchCommand() *cli.Command {
	return &cli.Command{
		Name:  "watch",
		Usage: "show connection tables and decisions of the boxes as they happen, of a running lab or of one meeting",
		Flags: append(labNetworkFlags(),
			&cli.IntFlag{Name: "lab", Usage: "watch the lab of process `PID`, which it printed when it started"},
			&cli.BoolFlag{Name: "json-stream", Usage: "print each event as a JSON line"}),
		Action: func(c *cli.Context) error {
			if pid := c.Int("lab"); pid != 0 {
				return lab.WatchRunning(c.Context, pid, c.Bool("json-stream"))
			}
			config, err := labNetwork(c)
			if err != nil {
				return err
			}
			return inLab(c, func(ctx context.Context) error {
				return lab.Watch(ctx, config, c.Bool("json-stream"), streamsOf(c).out)
			})
		},
	}
}

// labNetworkFlags choose a network, without a meeting in it.
func labNetworkFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "a", Value: "linux", Usage: "`PROFILE` of A's side"},
		&cli.StringFlag{Name: "b", Value: "linux", Usage: "`PROFILE` of B's side"},
		labDelay(),
	}
}

func labNetwork(c *cli.Context) (lab.Config, error) {
	config := lab.Config{Delay: c.Duration("delay"), SkewA: lab.DefaultSkewA, SkewB: lab.DefaultSkewB, Retries: -1}
	if config.Delay < 0 {
		return config, usageError("a delay cannot be negative", "--delay 0 is plain wires")
	}
	var err error
	if config.A, err = lab.ParseProfile(c.String("a")); err != nil {
		return config, profileError("a", err)
	}
	if config.B, err = lab.ParseProfile(c.String("b")); err != nil {
		return config, profileError("b", err)
	}
	return config, nil
}
