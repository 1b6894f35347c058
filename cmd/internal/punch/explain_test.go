package punch

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"tcppunch/captures"
	"tcppunch/predict"
	"tcppunch/predict/nat"
	"tcppunch/predict/probe"
)

func TestCauseFollowsFromWhatThisPeerSaw(t *testing.T) {
	attempts := func(list ...Outcome) []Attempt {
		var made []Attempt
		for _, o := range list {
			made = append(made, Attempt{Outcome: o})
		}
		return made
	}
	refusedAfter := func(d time.Duration) Attempt { return Attempt{Round: 1, Called: d, Ended: 2 * d, Outcome: WasRefused} }
	steady := &NAT{Behavior: predict.Behavior{Mapping: nat.EndpointIndependent}}
	hard := &NAT{Behavior: predict.Behavior{Mapping: nat.PerConnection}}
	denier := &NAT{Behavior: steady.Behavior, Inbound: probe.Inbound{SimultaneousOpen: pointer(false)}}
	admitting := &NAT{Behavior: steady.Behavior, Inbound: probe.Inbound{SimultaneousOpen: pointer(true)}}
	bound := pointer(40 * time.Millisecond)
	remote := pointer(netip.MustParseAddrPort("203.0.113.1:5000"))
	tests := []struct {
		name   string
		report Report
		runner runner
		want   Cause
	}{
		{"reset with unknown clocks", Report{Attempts: attempts(WasRefused)}, runner{}, ClockTooPoor},
		{"reset with known clocks", Report{Attempts: attempts(WasRefused), SkewBound: bound}, runner{}, NATReset},
		{"reset until the budget was spent", Report{Attempts: attempts(WasRefused), SkewBound: bound}, runner{failure: errBudget}, BudgetSpent},
		{"reset after a late launch", Report{Attempts: attempts(WasRefused), SkewBound: bound, LaunchError: pointer(time.Second)}, runner{}, LaunchedLate},
		{"silence after a late launch, behind NATs that refuse a crossing", Report{Attempts: attempts(Unanswered), LaunchError: pointer(50 * time.Millisecond), NAT: denier, PeerNAT: denier}, runner{}, SimultaneousOpenBlocked},
		{"silence after a launch when the peer had given up", Report{Attempts: attempts(Unanswered), LaunchError: pointer(time.Minute), NAT: steady, PeerNAT: steady}, runner{}, LaunchedLate},
		{"an ICMP error after a late launch", Report{Attempts: []Attempt{{Round: 1, Outcome: Unreachable, Error: "no route"}}, LaunchError: pointer(50 * time.Millisecond)}, runner{}, LaunchedLate},
		{"silence behind steady NATs", Report{Attempts: attempts(Unanswered), NAT: steady, PeerNAT: steady}, runner{}, NATFiltered},
		{"silence, and both NATs refuse a crossing", Report{Attempts: attempts(Unanswered), NAT: denier, PeerNAT: denier}, runner{}, SimultaneousOpenBlocked},
		{"silence, and one NAT refuses a crossing, of the other one nothing is known", Report{Attempts: attempts(Unanswered), NAT: steady, PeerNAT: denier}, runner{}, SimultaneousOpenBlocked},
		{"silence, and one NAT lets a crossing in", Report{Attempts: attempts(Unanswered), NAT: denier, PeerNAT: admitting}, runner{}, NATFiltered},
		{"silence behind the peer's hard NAT", Report{Attempts: attempts(Unanswered), NAT: steady, PeerNAT: hard, Remote: remote}, runner{}, PortMispredicted},
		{"resets that no early SYN explains", Report{SkewBound: bound, SkewUncertainty: pointer(5 * time.Millisecond),
			Attempts: []Attempt{refusedAfter(40 * time.Millisecond), refusedAfter(40 * time.Millisecond), refusedAfter(41 * time.Millisecond)}}, runner{failure: errBudget}, SimultaneousOpenBlocked},
		{"resets on a path shorter than the clocks are sure of", Report{SkewBound: bound, SkewUncertainty: pointer(5 * time.Millisecond),
			Attempts: []Attempt{refusedAfter(40 * time.Millisecond), refusedAfter(9 * time.Millisecond), refusedAfter(41 * time.Millisecond)}}, runner{}, NATReset},
		{"an ICMP error", Report{Attempts: []Attempt{{Round: 1, Outcome: Unreachable, Error: "no route"}}}, runner{}, NATICMP},
		{"an ICMP error about a SYN that was to die", Report{Attempts: []Attempt{{Round: 1, Outcome: Unanswered}, {Round: 2, Outcome: Unreachable, Error: "no route"}}}, runner{}, NATFiltered},
		{"TCP stood, but the key was not proven", Report{Attempts: attempts(Stood), SkewBound: bound}, runner{unproven: true}, AuthFailed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &meeting{cfg: Config{Timeout: 10 * time.Second}, report: test.report}
			got, text := m.cause(plan{}, []*runner{&test.runner})
			if got != test.want || text == "" {
				t.Errorf("got %s (%s), want %s", got, text, test.want)
			}
		})
	}
}

func TestOutcomeOfAnAttempt(t *testing.T) {
	for err, want := range map[error]Outcome{
		nil: Stood,
		os.NewSyscallError("connect", syscall.ECONNREFUSED): WasRefused,
		os.NewSyscallError("connect", syscall.EHOSTUNREACH): Unreachable,
		os.NewSyscallError("connect", syscall.ETIMEDOUT):    Unanswered,
		fmt.Errorf("wait: %w", context.DeadlineExceeded):    Unanswered,
		context.Canceled: Abandoned,
	} {
		if got := outcomeOf(err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

func TestOnlyAProvenCrossingIsCalledOne(t *testing.T) {
	for verdict, want := range map[captures.Verdict]*bool{
		captures.VerdictSimultaneousOpen: pointer(true),
		captures.VerdictLateCrossing:     pointer(false),
		captures.VerdictThreeWay:         nil,
		captures.VerdictUnknown:          nil,
	} {
		got := crossing(verdict)
		if (got == nil) != (want == nil) || got != nil && *got != *want {
			t.Errorf("%s: got %v, want %v", verdict, got, want)
		}
	}
}
