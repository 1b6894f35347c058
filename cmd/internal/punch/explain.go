package punch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"tcppunch/captures"
	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// explain fills in what the launch and its capture showed, and returns the
// nominated connection, or the cause why there is none.
func (m *meeting) explain(p plan, runners []*runner, won *nominated) (net.Conn, error) {
	m.noteIncoming()
	if won != nil && !slices.Contains(runners, won.runner) {
		runners = append([]*runner{won.runner}, runners...) // it was accepted
	}
	if len(runners) == 0 {
		m.rounds(p, runners, 0)
		cause, text := unheard(m.cfg.Timeout)
		return nil, &failed{cause, text}
	}
	m.shown = m.judge(runners, won)
	if m.measureLaunch(p, runners) && m.capture.Dropped == 0 {
		m.report.SYNsOnWire = len(m.capturedSYNs(runners))
	}
	if won == nil {
		m.rounds(p, runners, 0)
		cause, text := m.cause(p, runners)
		return nil, &failed{cause, text}
	}
	m.rounds(p, runners, won.runner.round)
	return m.established(p, won), nil
}

// established writes down what the nominated connection is.
func (m *meeting) established(p plan, won *nominated) net.Conn {
	local, remote := won.runner.socket.Local(), won.runner.remote
	r := &m.report
	r.Established, r.RTT = true, won.rtt
	r.Local, r.Remote = &local, &remote
	r.EstablishedAfter = pointer(won.runner.stood.Sub(p.at))
	r.AuthenticatedAfter = pointer(won.at.Sub(p.at))
	r.Explanation = fmt.Sprintf("connected %s after the instant with %s, authenticated after %s",
		r.EstablishedAfter.Round(10*time.Microsecond), syns(r.SYNsOnWire), r.AuthenticatedAfter.Round(10*time.Microsecond))
	m.trace(Explain, "%s", r.Explanation)
	return won.conn
}

// syns counts SYNs in words.
func syns(n int) string {
	if n == 1 {
		return "1 SYN"
	}
	return fmt.Sprintf("%d SYNs", n)
}

// mostSingles is how many rounds of single SYNs there can be.
const mostSingles = 3

// rounds lists the rounds that sent anything. won is the number of the one
// that connected, or 0.
func (m *meeting) rounds(p plan, runners []*runner, won int) {
	for i := range mostSingles {
		round := Round{Strategy: string(p.strategyOf(i + 1)), Outcome: "failed"}
		for _, a := range m.report.Attempts {
			if a.Round == i+1 {
				round.Attempts++
			}
		}
		for _, r := range runners {
			switch r.round {
			case i + 1:
				round.SYNs += r.sent - r.before
			case i + 2:
				round.SYNs += r.before
			}
		}
		if won == i+1 {
			round.Outcome = "established"
		} else if won > 0 {
			round.Outcome = "abandoned"
		}
		if round.Attempts > 0 || i == 0 && p.passive() {
			m.report.Rounds = append(m.report.Rounds, round)
		}
	}
}

// judge lets the captured packets speak: the verdict of the handshake that the
// meeting is about.
func (m *meeting) judge(runners []*runner, won *nominated) *captures.Handshake {
	if m.capture == nil || len(m.capture.Packets) == 0 {
		return nil
	}
	var analyzer captures.Analyzer
	for _, packet := range m.capture.Packets {
		analyzer.Add(0, m.capture.Interface.LinkType, packet)
	}
	chosen := runners[0]
	if won != nil {
		chosen = won.runner
	}
	for _, h := range analyzer.Handshakes() {
		if between(h, chosen.socket.Local(), chosen.remote) {
			m.report.Verdict, m.report.Crossing = pointer(h.Verdict), crossing(h.Verdict)
			return &h
		}
	}
	return nil
}

func between(h captures.Handshake, a, b netip.AddrPort) bool {
	return h.A == a && h.B == b || h.A == b && h.B == a
}

// crossing translates a verdict. A three-way handshake seen from one end may
// still hide a SYN that was dropped on its way here, so it says nothing.
func crossing(v captures.Verdict) *bool {
	switch v {
	case captures.VerdictSimultaneousOpen:
		return pointer(true)
	case captures.VerdictLateCrossing:
		return pointer(false)
	}
	return nil
}

// measureLaunch reads from the capture when the first SYN left, by the
// kernel's stamps; where it cannot, it takes the time of the call.
func (m *meeting) measureLaunch(p plan, runners []*runner) (captured bool) {
	if syns := m.capturedSYNs(runners); len(syns) > 0 && m.cfg.Clock.Check().Step == 0 {
		m.report.LaunchError, m.report.LaunchFrom = pointer(syns[0].Sub(wallAt(p.at))), pointer("capture")
		return true
	}
	for _, a := range m.report.Attempts {
		if a.Round == runners[0].round {
			m.report.LaunchError, m.report.LaunchFrom = pointer(a.Called), pointer("call")
			break
		}
	}
	return false
}

// capturedSYNs lists when this side's SYNs left, by the system's real-time
// clock.
func (m *meeting) capturedSYNs(runners []*runner) []time.Time {
	if m.capture == nil {
		return nil
	}
	var list []time.Time
	decoder := captures.NewDecoder()
	for _, packet := range m.capture.Packets {
		s, err := decoder.Decode(m.capture.Interface.LinkType, packet.Data)
		if err == nil && s.Kind == captures.KindSyn && ours(s, runners) {
			list = append(list, packet.Time)
		}
	}
	return list
}

func ours(s captures.Segment, runners []*runner) bool {
	for _, r := range runners {
		if s.From == r.socket.Local() && s.To == r.remote {
			return true
		}
	}
	return false
}

// wallAt carries an instant over to the system's real-time clock: the tightest
// of a few readings of both clocks, so that a preempted thread does not count.
func wallAt(at timing.Instant) time.Time {
	var best time.Time
	least := time.Hour
	for range 4 {
		before := timing.Now()
		wall := time.Now()
		if width := timing.Now().Sub(before); width < least {
			best, least = wall.Round(0).Add(at.Sub(before.Add(width/2))), width
		}
	}
	return best
}

// tooLate is from where on this host's own launch is to blame: a path's one-way
// delay is rarely longer, and a reset by then has met the SYN.
const tooLate = 20 * time.Millisecond

// cause is the likeliest reason that this peer can tell by itself. Whose NAT it
// was is known only where the packets show it.
func (m *meeting) cause(p plan, runners []*runner) (Cause, string) {
	for _, r := range runners {
		if r.unproven {
			return AuthFailed, fmt.Sprintf("TCP stood to %s, but %v", r.remote, r.failure)
		}
	}
	ended := m.outcomes()
	switch {
	case ended[WasRefused] > 0 && m.report.SkewBound == nil:
		return ClockTooPoor, fmt.Sprintf("the peer's side answered %s with a reset, as it does before its own SYN has left; the clocks of the peers were not compared, so the SYNs may have missed each other by any time", syns(ended[WasRefused]))
	case m.late(p, ended) && ended[Stood] == 0:
		return LaunchedLate, fmt.Sprintf("this host's first SYN left %s after the instant", m.report.LaunchError.Round(time.Microsecond))
	case m.blocked(p):
		return SimultaneousOpenBlocked, fmt.Sprintf("resets answered %s, although the peers' instants lie closer together than a SYN takes: a NAT or firewall refuses the SYN of a simultaneous open", syns(ended[WasRefused]))
	case ended[WasRefused] > 0 && m.spent(runners):
		return BudgetSpent, fmt.Sprintf("resets answered %s, and the budget allows no more", syns(ended[WasRefused]))
	case ended[WasRefused] > 0:
		return NATReset, fmt.Sprintf("the peer's NAT or firewall answered %s with a reset, before the peer's own SYN had left", syns(ended[WasRefused]))
	case m.rejection(p) != "":
		return NATICMP, "an ICMP error ended the attempt: " + m.rejection(p)
	case m.hard():
		return PortMispredicted, fmt.Sprintf("no SYN was answered, and a NAT on the way gives each destination another port: the aimed port %d was a guess", m.report.Remote.Port())
	case p.strategy != rendezvous.Reverse && m.deniers() != "":
		return SimultaneousOpenBlocked, fmt.Sprintf("no SYN was answered, and %s refused the SYN of a crossing when the coordinator tried it", m.deniers())
	}
	return NATFiltered, fmt.Sprintf("no SYN was answered within %s: a NAT or firewall between the peers dropped them", m.cfg.Timeout)
}

// late says that this host's own launch is to blame: it was late, and something
// answered a SYN that was too early for it. Where nothing did, a late SYN meets the
// peer's, which is repeated, unless the peer had given up.
func (m *meeting) late(p plan, ended map[Outcome]int) bool {
	by := orZero(m.report.LaunchError)
	return by > tooLate && (ended[WasRefused] > 0 || m.rejection(p) != "") || by > m.cfg.Timeout
}

// blocked says that the resets cannot be for coming too early. A SYN takes half
// as long as its reset took to come back; by then the peer's own had left, if the
// instants differ by less and the peer launched as exactly as this side did.
func (m *meeting) blocked(p plan) bool {
	refused := 0
	for _, a := range m.report.Attempts {
		if p.dies(a.Round) || a.Outcome != WasRefused {
			continue
		}
		if m.report.SkewUncertainty == nil || (a.Ended-a.Called)/2 < *m.report.SkewUncertainty+exactly {
			return false
		}
		refused++
	}
	return refused > enoughResets
}

// deniers are the NATs that were seen to refuse the SYN of a crossing; none
// where one of the two lets it in. One denier alone does no harm: its own SYN
// opens the other NAT, and the answer is a SYN-ACK.
func (m *meeting) deniers() string {
	own, peer := lets(m.report.NAT), lets(m.report.PeerNAT)
	switch {
	case own != nil && *own, peer != nil && *peer, own == nil && peer == nil:
		return ""
	case own == nil:
		return "the peer's NAT"
	case peer == nil:
		return "the NAT of this side"
	}
	return "the NATs of both sides"
}

// lets says whether a NAT lets the SYN of a crossing in; nil: unknown.
func lets(n *NAT) *bool {
	if n == nil {
		return nil
	}
	return n.SimultaneousOpen
}

const (
	exactly      = time.Millisecond // what two launches differ by on busy machines, docs/benchmarks.md
	enoughResets = 2                // further ones are no accident of one late launch
)

// rejection is the first ICMP error that was not provoked: a SYN that dies on the
// way asks for one.
func (m *meeting) rejection(p plan) string {
	for _, a := range m.report.Attempts {
		if a.Outcome == Unreachable && !p.dies(a.Round) {
			return a.Error
		}
	}
	return ""
}

func (m *meeting) spent(runners []*runner) bool {
	for _, r := range runners {
		if errors.Is(r.failure, errBudget) {
			return true
		}
	}
	return false
}

// hard says that one of the NATs maps by destination.
func (m *meeting) hard() bool {
	for _, n := range []*NAT{m.report.NAT, m.report.PeerNAT} {
		if n != nil && n.Mapping.Dependent() {
			return true
		}
	}
	return false
}
