package punch

import (
	"fmt"
	"net"

	"tcppunch/cmd/internal/rendezvous"
)

// explain fills in what the rounds and their captures showed, and returns the
// nominated connection, or the cause why there is none.
func (v *volleys) explain(won *nominated) (net.Conn, error) {
	v.noteIncoming()
	if len(v.runners) > 0 {
		v.shown = v.judge(v.runners, won)
		v.measureLaunch(v.plan, v.runners)
	}
	if won == nil {
		cause, text := v.cause()
		return nil, &failed{cause, text}
	}
	return v.established(v.plan, won), nil
}

// cause is the likeliest reason why no round has connected.
func (v *volleys) cause() (Cause, string) {
	for _, r := range v.runners {
		if r.unproven {
			return AuthFailed, fmt.Sprintf("TCP stood to %s, but %v", r.remote, r.failure)
		}
	}
	switch {
	case v.icmp() != "":
		return NATICMP, "an ICMP error ended the attempt: " + v.icmp()
	case v.schedule.Short() && v.outcomes()[WasRefused] > 0:
		return NATReset, fmt.Sprintf("the peer's NAT or firewall answered %s with a reset, and the path is so short that they may have come too early; %s", syns(v.outcomes()[WasRefused]), v.missed())
	case v.left < 2:
		return PortMispredicted, fmt.Sprintf("%s, and the budget of %d allows no more", v.missed(), v.schedule.Budget)
	}
	return PortMispredicted, v.missed()
}

// icmp is the first ICMP error of the newest round, if that had ordinary SYNs:
// others ask for one.
func (v *volleys) icmp() string {
	newest := len(v.report.Rounds)
	for _, a := range v.report.Attempts {
		if a.Round == newest && a.Outcome == Unreachable && v.report.Rounds[newest-1].Strategy != rendezvous.LowTTL {
			return a.Error
		}
	}
	return ""
}

// missed says what was aimed at, and what came of it.
func (v *volleys) missed() string {
	sent := 0
	for _, r := range v.report.Rounds {
		if r.Strategy != rendezvous.Knock {
			sent += r.SYNs
		}
	}
	low, high := uint16(65535), uint16(0)
	for _, p := range v.aimed.Ports {
		low, high = min(low, p), max(high, p)
	}
	if len(v.aimed.Ports) == 0 {
		return "the peer's SYNs did not arrive here"
	}
	text := fmt.Sprintf("%s, the last to port %d", syns(sent), low)
	if low != high {
		text = fmt.Sprintf("%d SYNs, the last to %d ports from %d to %d", sent, len(v.aimed.Ports), low, high)
	}
	return text + fmt.Sprintf(" with a probability of %.2g, met none of the peer's", *v.report.Probability)
}
