package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/rendezvous"
)

// notOverUDP are the flags of meet that need a TCP connection or its SYNs.
var notOverUDP = []string{"pipe", "forward", "exec", "relay", "until-direct", "strategy", "retries", "capture"}

// transportOf reads --transport. A meeting over UDP measures, and hands out
// nothing: what asks for a connection is refused.
func transportOf(c *cli.Context) (rendezvous.Transport, error) {
	transport := rendezvous.Transport(c.String("transport"))
	switch transport {
	case rendezvous.TCP:
		return transport, nil
	case rendezvous.UDP:
	default:
		return "", usageError(fmt.Sprintf("there is no transport %q", transport), "transports are tcp and udp")
	}
	for _, name := range notOverUDP {
		if c.IsSet(name) {
			return "", usageError(fmt.Sprintf("--transport udp is an experiment that opens no connection, so it does not go with --%s", name), "leave one of the two away")
		}
	}
	if c.String("coordinator") == "" {
		return "", usageError("--transport udp needs a coordinator", "name one with --coordinator")
	}
	return transport, nil
}
