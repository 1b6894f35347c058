package main

import (
	"github.com/urfave/cli/v2"
)

// checkLabStrategy checks --strategy of a lab command, which passes it on.
func checkLabStrategy(c *cli.Context) error {
	if name := c.String("strategy"); name != "" {
		_, err := parseStrategy(name)
		return err
	}
	return nil
}
