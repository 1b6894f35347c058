package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/lab"
)

func labTransport() cli.Flag {
	return &cli.StringFlag{Name: "transport", Value: "tcp", Usage: "`tcp|udp`: udp is the control, the same meetings with datagrams"}
}

// checkLabTransport refuses what meet would refuse.
func checkLabTransport(c *cli.Context) error {
	switch transport := c.String("transport"); {
	case transport != "" && transport != lab.TCP && transport != lab.UDP: // lab compare has no such flag
		return usageError(fmt.Sprintf("there is no transport %q", transport), "transports are tcp and udp")
	case transport == lab.UDP && (c.String("strategy") != "" || c.Int("retries") > 0):
		return usageError("--strategy and --retries are about SYNs: they do not go with --transport udp", "leave them away")
	}
	return nil
}

// overTransport names the control where it is one.
func overTransport(transport string) string {
	if transport == lab.UDP {
		return " over UDP"
	}
	return ""
}
