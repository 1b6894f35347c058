package main

import (
	"context"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labShellCommand() *cli.Command {
	return &cli.Command{
		Name:      "shell",
		Usage:     "a shell inside a node: a, b, nat-a, nat-b, coordinator or time",
		ArgsUsage: "NODE",
		Args:      true,
		Description: "Builds a lab of its own and ends it with the shell, or joins a running one. In the shell\n" +
			"'tcppunch' is this program, and TCPPUNCH_COORDINATOR names the lab's coordinator, so that in two\n" +
			"shells 'tcppunch meet --as a --peer b --at +5s' and its mirror connect.",
		Flags:  append(labNetworkFlags(), &cli.IntFlag{Name: "lab", Usage: "join the lab of process `PID`, which it printed when it started"}),
		Action: labShell,
	}
}

func labShell(c *cli.Context) error {
	if c.NArg() != 1 {
		return usageError("name one node", "the nodes are a, b, nat-a, nat-b, coordinator and time")
	}
	node := c.Args().First()
	if pid := c.Int("lab"); pid != 0 {
		return nodeError(labStatus(lab.Join(c.Context, pid, node)))
	}
	config, err := labNetwork(c)
	if err != nil {
		return err
	}
	return nodeError(inLab(c, func(ctx context.Context) error {
		return lab.Shell(ctx, config, node, streamsOf(c).err)
	}))
}

// nodeError names the nodes that there are.
func nodeError(err error) error {
	if word, ok := errors.AsType[*lab.UnknownWord](err); ok {
		f := usageError(word.Error(), "the nodes are "+joinWords(word.Valid))
		return f
	}
	return err
}

func joinWords(words []string) string { return strings.Join(words, ", ") }
