package punch

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict/nat"
	"tcppunch/predict/probe"
	"tcppunch/timing"
)

// incoming are a meeting's tests of how its NAT treats SYNs from outside. They
// run beside the wait for the peer and the comparison of the clocks, and no SYN
// of theirs leaves once the ports of the punch are looked at.
type incoming struct {
	*probe.Incoming
	family func(netip.Addr) bool // in which the coordinator was reached
}

// testIncoming begins the tests, where the coordinator dials back.
func (m *meeting) testIncoming(ctx context.Context) {
	if m.overUDP() || !slices.Contains(m.welcome.Features, rendezvous.FeatureDialBack) {
		return
	}
	family := netip.Addr.Is4
	if m.reached.Is6() {
		family = netip.Addr.Is6
	}
	servers := only(m.servers, family)
	if len(servers) == 0 {
		return
	}
	host, err := sourceAddress(servers[0])
	if err != nil {
		return
	}
	m.incoming = &incoming{family: family, Incoming: probe.StartIncoming(ctx, probe.Config{
		Network: probeNetwork{m.cfg.Network}, Servers: servers, Username: m.welcome.Token,
		Local: netip.AddrPortFrom(host, 0), Back: m.client.DialBack(),
	})}
}

// preparation is how long before the instant that this peer wishes its ports
// are looked at: it leaves time for twelve probes and the agreement over a path
// of a few hundred milliseconds.
const preparation = 2 * time.Second

// hush ends the sending of the tests. What the wish leaves of time they get.
func (m *meeting) hush(ctx context.Context) {
	if m.incoming == nil {
		return
	}
	left := m.cfg.Wish.After - timing.Now().Sub(m.met)
	if at := m.cfg.Wish.At; at != nil {
		left = at.Sub(m.cfg.Clock.Now())
	}
	ctx, cancel := context.WithTimeout(ctx, max(left-preparation, 0))
	defer cancel()
	m.incoming.Hush(ctx)
}

// tellIncoming puts into the offer what is known by now.
func (m *meeting) tellIncoming(candidates []rendezvous.Candidate) {
	if m.incoming == nil {
		return
	}
	for i, c := range candidates {
		if c.Behavior == nil || !m.incoming.family(c.Addr.Addr()) {
			continue
		}
		found := m.incoming.Report(*c.Behavior)
		c.Behavior.Filtering = found.Filtering
		if found.Inbound != (probe.Inbound{}) {
			candidates[i].Inbound = &found.Inbound
		}
		if !c.Spare {
			m.trace(Predict, "a SYN from outside: %s filtering, %s", orUnknown(found.Filtering), answersOf(found.Inbound))
		}
	}
}

// noteIncoming completes what the report says of this side's NAT.
func (m *meeting) noteIncoming() {
	n := m.report.NAT
	if m.incoming == nil || n == nil || len(n.Observations) == 0 || !m.incoming.family(n.Observations[0].Local.Addr()) {
		return
	}
	found := m.incoming.Report(n.Behavior)
	n.Filtering, n.Inbound, n.Unknown = found.Filtering, found.Inbound, found.Unknown
}

func orUnknown(f nat.Filtering) string {
	if f == nat.FilteringUnknown {
		return "unknown"
	}
	return f.String()
}

// answersOf says in words what answers SYNs from outside, as far as is known.
func answersOf(b probe.Inbound) string {
	text := "no answer so far to an unsolicited one"
	if b.Unsolicited != nat.UnsolicitedUnknown {
		text = "the answer to an unsolicited one is " + b.Unsolicited.String()
	}
	return text + ", a crossing one " + ternary(b.SimultaneousOpen, "is let in", "is refused")
}

func ternary(v *bool, yes, no string) string {
	switch {
	case v == nil:
		return "is not known"
	case *v:
		return yes
	}
	return no
}

// probeNetwork hands a meeting's sockets to package probe.
type probeNetwork struct{ Network }

func (n probeNetwork) Start(local, remote netip.AddrPort) (probe.Attempt, error) {
	s, err := n.Open(local, SocketOptions{})
	if err != nil {
		return nil, err
	}
	if err := s.Connect(remote); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (n probeNetwork) Listen(_ context.Context, local netip.AddrPort) (net.Listener, error) {
	return n.Network.Listen(local)
}
