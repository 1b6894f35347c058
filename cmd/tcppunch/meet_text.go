package main

import (
	"fmt"
	"io"
	"time"

	"tcppunch/cmd/internal/punch"
	"tcppunch/cmd/internal/rendezvous"
)

// statusOf is the exit status of a cause.
func statusOf(cause punch.Cause) int {
	switch cause {
	case punch.PeerAbsent, punch.PeerLate:
		return statusPeerAbsent
	case punch.AuthFailed:
		return statusAuthFailed
	case punch.CoordinatorLost:
		return statusUnreachable
	case punch.ClockTooPoor:
		return statusClockPoor
	case punch.Refused:
		return statusRefused
	}
	return statusNo
}

// hintOf says how a cause is mended, where something can be done.
func hintOf(cause punch.Cause) string {
	switch cause {
	case punch.PeerAbsent:
		return "both sides run the command, each with the other's name as --peer; --wait sets the patience"
	case punch.PeerLate:
		return "agree on a later time"
	case punch.AuthFailed:
		return "compare the keys with your peer; after a deliberate change remove the old one from the known peers, or name the new one: --peer NAME@KEY"
	case punch.ClockTooPoor:
		return "let the clocks be measured: leave --no-sync away, or name a time server with --ntp"
	case punch.CoordinatorLost:
		return "start again once the coordinator is back"
	case punch.NATReset:
		return "the more precise the common instant, the likelier the SYNs cross; more --retries help too"
	case punch.BudgetSpent:
		return "raise --budget and --retries on both sides"
	case punch.PortMispredicted:
		return "a larger --budget on both sides makes it likelier that the ports meet"
	case punch.LaunchedLate:
		return "this machine was too busy at the instant: try again"
	}
	return ""
}

// writeMeeting tells a meeting's outcome to a person.
func writeMeeting(w io.Writer, d meetDocument) error {
	r := d.Report
	if !r.Established {
		fmt.Fprintf(w, "not connected to %s (%s): %s\n", r.Peer, *r.Cause, r.Explanation)
		if d.Error != nil && d.Error.Hint != "" {
			fmt.Fprintln(w, d.Error.Hint)
		}
		writeFacts(w, r)
		return nil
	}
	if r.Transport == rendezvous.UDP {
		fmt.Fprintf(w, "met %s over UDP, %s; nothing is left open\n", r.Peer, provenBy(r))
	} else {
		fmt.Fprintf(w, "connected to %s, %s\n", r.Peer, provenBy(r))
	}
	fmt.Fprintf(w, "  %s → %s\n", r.Local, r.Remote)
	writeFacts(w, r)
	return nil
}

func provenBy(r punch.Report) string {
	if r.PeerTrust == nil {
		return "which holds the same secret"
	}
	return fmt.Sprintf("key %s (%s)", r.PeerKey, *r.PeerTrust)
}

func writeFacts(w io.Writer, r punch.Report) {
	fact := func(name string, d *time.Duration) {
		if d != nil {
			fmt.Fprintf(w, "  %-22s %s\n", name, d.Round(time.Microsecond))
		}
	}
	if r.Verdict != nil {
		fmt.Fprintf(w, "  %-22s %s\n", "verdict", *r.Verdict)
	}
	fact("established after", r.EstablishedAfter)
	fact("authenticated after", r.AuthenticatedAfter)
	fact("round trip", r.RTT)
	fact("first SYN after the instant", r.LaunchError)
	fact("peer's clock differs", r.Skew)
	fact("known within ±", r.SkewBound)
	packets := "SYNs on the wire"
	if r.Transport == rendezvous.UDP {
		packets = "datagrams sent"
	}
	fmt.Fprintf(w, "  %-22s %d\n", packets, r.SYNsOnWire)
	for _, reason := range r.Refusals {
		fmt.Fprintf(w, "  refused: %s\n", reason)
	}
}
