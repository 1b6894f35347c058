package main

import (
	"fmt"
	"net"

	"github.com/urfave/cli/v2"

	"tcppunch/timing/timingtest"
)

// labTimeServerCommand is the lab's node that tells the time. It is hidden,
// since it is no time server for anything but experiments.
func labTimeServerCommand() *cli.Command {
	return &cli.Command{
		Name:   "time-server",
		Hidden: true,
		Usage:  "tell this machine's time over SNTP, wrong by a chosen offset",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: ":123", Usage: "`ADDRESS` to serve on"},
			&cli.DurationFlag{Name: "offset", Usage: "how wrong the time shall be"},
		},
		Action: func(c *cli.Context) error {
			conn, err := net.ListenPacket("udp", c.String("listen"))
			if err != nil {
				return fmt.Errorf("serve time: %w", err)
			}
			fmt.Fprintf(streamsOf(c).out, "tcppunch lab time-server ready: %s\n", conn.LocalAddr())
			server := timingtest.Server{Offset: c.Duration("offset")}
			return server.Serve(c.Context, conn)
		},
	}
}
