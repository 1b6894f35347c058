package main

import "github.com/urfave/cli/v2"

// commands are all commands in the order in which help shows them.
func commands() []*cli.Command {
	return []*cli.Command{
		meetCommand(),
		coordinatorCommand(),
		secretCommand(),
		probeCommand(),
		syncCommand(),
		captureCommand(),
		analyzeCommand(),
		craftCommand(),
		predictCommand(),
		labCommand(),
	}
}
