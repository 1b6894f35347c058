package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"tcppunch/cmd/internal/punch"
	"tcppunch/cmd/internal/rendezvous"
)

// direct meets a peer by appointment: all that a coordinator would tell stands
// on the command line of both sides.
func (inv *invitation) direct() (punch.Result, error) {
	c := inv.c
	if err := inv.checkAppointment(); err != nil {
		return punch.Result{}, err
	}
	secret, err := readSecret(c.String("secret-file"))
	if err != nil {
		return punch.Result{}, err
	}
	remote, err := resolveEndpoint(c.Context, "--peer", inv.config.Peer)
	if err != nil {
		return punch.Result{}, err
	}
	if len(inv.config.NTP) == 0 && !inv.config.NoSync {
		inv.streams.say("no --ntp: nothing bounds how far the peers' clocks differ")
	}
	return punch.Direct(c.Context, inv.config, punch.Appointment{Remote: remote, Secret: secret})
}

func (inv *invitation) checkAppointment() error {
	c := inv.c
	if !strings.Contains(inv.config.Peer, ":") {
		return usageError("name a coordinator to meet a peer by name", "add --coordinator KEY@HOST:PORT, or give --peer HOST:PORT for a meeting without one")
	}
	for _, missing := range []struct {
		flag, why string
		absent    bool
	}{
		{"--at", "an absolute --at", inv.config.Wish.At == nil},
		{"--local-port", "--local-port", inv.config.LocalPort == 0},
		{"--secret-file", "--secret-file", c.String("secret-file") == ""},
	} {
		if missing.absent {
			return usageError("a meeting without a coordinator needs "+missing.why, "both sides agree beforehand on the time, on each other's port and on a secret ('tcppunch secret')")
		}
	}
	return nil
}

// resolveEndpoint reads the HOST:PORT that a flag was given.
func resolveEndpoint(ctx context.Context, flag, text string) (netip.AddrPort, error) {
	host, port, err := rendezvous.SplitHostPort(text, 0)
	if err != nil || port == 0 {
		return netip.AddrPort{}, usageError(fmt.Sprintf("%s %q is not HOST:PORT", flag, text), "an IPv6 address stands in brackets: [2001:db8::1]:4000")
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(list) == 0 {
		return netip.AddrPort{}, &failure{Status: statusFailed, Kind: "unknown-host", Message: fmt.Sprintf("the host %q cannot be found: %v", host, err)}
	}
	return netip.AddrPortFrom(list[0].Unmap(), port), nil
}

func readSecret(path string) ([]byte, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, &failure{Status: statusFailed, Kind: "secret", Message: fmt.Sprintf("cannot read the secret: %v", err), Hint: "make one with 'tcppunch secret' and copy it to both sides"}
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(body)))
	if err != nil || len(secret) < punch.MinSecret {
		return nil, &failure{Status: statusFailed, Kind: "secret", Message: fmt.Sprintf("%s holds no secret: 32 or more hexadecimal digits", path), Hint: "make one with 'tcppunch secret'"}
	}
	return secret, nil
}
