package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// wantedHost is the address of --host, to which an analysis or a capture is
// limited; the zero value is all.
func wantedHost(c *cli.Context) (netip.Addr, error) {
	text := c.String("host")
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return addr, usageError(fmt.Sprintf("--host %q is not an IP address", text), "names are not looked up: give an address such as 192.0.2.1 or 2001:db8::1")
	}
	return addr, nil
}

// wantedPort is that of --port; 0, which the flag itself cannot say, is all.
func wantedPort(c *cli.Context) (uint16, error) {
	port := c.Int("port")
	if c.IsSet("port") && (port < 1 || port > 65535) {
		return 0, usageError(fmt.Sprintf("--port %d is not between 1 and 65535", port), "leave it away for all ports")
	}
	return uint16(port), nil
}

// isClassic reports whether the name of a file asks for pcap rather than pcapng.
func isClassic(name string) bool { return strings.EqualFold(filepath.Ext(name), ".pcap") }
