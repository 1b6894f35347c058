package punch

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
	"tcppunch/predict/probe"
	"tcppunch/timing"
)

// A sounding is what the probes of one address family have shown so far.
type sounding struct {
	host    netip.Addr
	servers []netip.AddrPort
	seen    []predict.Observation // in the order in which the SYNs left
	own     []stride              // what this side's volleys took in between
}

// A stride is how far a volley moved the NAT's next port, and after how many
// observations.
type stride struct{ after, ports int }

// undisturbed are the observations as if the volleys had made no mappings:
// those are not foreign traffic. Only the newest ones are where they were.
func (s *sounding) undisturbed() []predict.Observation {
	list := slices.Clone(s.seen)
	for _, own := range s.own {
		for i := range list[:own.after] {
			if port := list[i].Reflexive.Port() + uint16(own.ports); port != 0 {
				list[i].Reflexive = netip.AddrPortFrom(list[i].Reflexive.Addr(), port)
			}
		}
	}
	return list
}

// A sound is one probe that is to be made.
type sound struct{ local, server netip.AddrPort }

const (
	// pace keeps the order in which probes leave, and costs little.
	pace = 3 * time.Millisecond
	// broadPace spreads the probes of a NAT that maps by destination, so that
	// they tell how many mappings others make meanwhile.
	broadPace = 40 * time.Millisecond
	// broadProbes are those beyond the first ones of each port.
	broadProbes = 6
	// refreshProbes leave shortly before a round. With up to four first ones
	// that makes at most twelve for the first round.
	refreshProbes = 2
)

// sound makes probes one pace after the other, without waiting for answers, and
// keeps the connections of those that were answered. The error is nil if one was.
func (m *meeting) sound(ctx context.Context, s *sounding, pace time.Duration, list []sound) error {
	held, failed := make([]probe.Held, len(list)), make([]error, len(list))
	var all sync.WaitGroup
	for i, x := range list {
		if i > 0 {
			failed[i] = rest(ctx, timing.Now().Add(pace))
		}
		if failed[i] == nil {
			all.Go(func() { held[i], failed[i] = m.observe(ctx, x) })
		}
	}
	all.Wait()
	m.report.SYNsProbing += len(list)
	answered := false
	for i, h := range held {
		if failed[i] == nil {
			answered = true
			m.held = append(m.held, h)
			s.seen = append(s.seen, h.Observation)
		}
	}
	if !answered {
		return errors.Join(failed...)
	}
	return nil
}

// rest waits until an instant by the runtime's timer, which may be a millisecond
// late and, unlike timing.Wait, leaves the processor to others.
func rest(ctx context.Context, until timing.Instant) error {
	timer := time.NewTimer(until.Sub(timing.Now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *meeting) observe(ctx context.Context, x sound) (probe.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, probe.PerServer)
	defer cancel()
	return probe.Observe(ctx, m.cfg.Network, x.local, x.server, m.welcome.Token)
}

// of are the observations of one local port.
func (s *sounding) of(local netip.AddrPort) []predict.Observation {
	return slices.DeleteFunc(slices.Clone(s.seen), func(o predict.Observation) bool { return o.Local != local })
}

// deepen probes a NAT that maps by destination from fresh ports, as a volley
// will use them.
func (m *meeting) deepen(ctx context.Context, s *sounding) {
	m.trace(Predict, "the NAT gives each destination another port: %d more probes", broadProbes)
	if err := m.sound(ctx, s, broadPace, m.freshSounds(s, broadProbes)); err != nil {
		m.trace(Predict, "no further probe was answered: %v", err)
	}
}

// refresh probes once more, shortly before a round.
func (m *meeting) refresh(ctx context.Context, s *sounding, delay time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, 4*delay+150*time.Millisecond)
	defer cancel()
	if err := m.sound(ctx, s, pace, m.freshSounds(s, refreshProbes)); err != nil {
		m.trace(Predict, "no probe before the round was answered: %v", err)
	}
}

func (m *meeting) freshSounds(s *sounding, n int) []sound {
	var list []sound
	for i := range n {
		anchor, err := m.freshSocket(s.host, SocketOptions{}, nil)
		if err != nil {
			m.trace(Predict, "no port is left to probe from: %v", err)
			break
		}
		m.fresh = append(m.fresh, anchor)
		list = append(list, sound{anchor.Local(), s.servers[i%len(s.servers)]})
	}
	return list
}

// freshSocket opens a socket at a port that the system chooses, as odd or even
// as the port of the punch unless odd says otherwise: some NATs keep that.
func (m *meeting) freshSocket(host netip.Addr, o SocketOptions, odd *bool) (Socket, error) {
	want := m.anchors[0].Local().Port()&1 == 1
	if odd != nil {
		want = *odd
	}
	const most = 64
	for try := 0; ; try++ {
		s, err := m.cfg.Network.Open(netip.AddrPortFrom(host, 0), o)
		if err != nil || s.Local().Port()&1 == 1 == want || try == most {
			return s, err
		}
		defer s.Close() // not before a better one is found, or it would come again
	}
}

// moves reports whether a NAT's next ports must be foretold.
func moves(b predict.Behavior) bool {
	return b.Mapping.Dependent() && (len(b.Ports.Posterior) == 0 || b.Ports.Posterior[0].Model != nat.Preserving)
}
