package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict"
)

// observeTimeout is how long the STUN servers may take: three retransmissions
// of a SYN at 1 s.
const observeTimeout = 4 * time.Second

// gather finds out how the local port appears from outside, for each address
// family, and lists this peer's candidates.
func (m *meeting) gather(ctx context.Context) ([]rendezvous.Candidate, error) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	if m.overUDP() {
		return m.gatherUDP(ctx, m.servers)
	}
	var list []rendezvous.Candidate
	var problems []error
	for _, family := range [][]netip.AddrPort{only(m.servers, netip.Addr.Is6), only(m.servers, netip.Addr.Is4)} {
		if len(family) == 0 {
			continue
		}
		found, err := m.explore(ctx, family)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		list = append(list, found...)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("learn this host's outside address: %w", errors.Join(append(problems, errors.New("no STUN server answered"))...))
	}
	return list, nil
}

func only(list []netip.AddrPort, family func(netip.Addr) bool) []netip.AddrPort {
	return slices.DeleteFunc(slices.Clone(list), func(a netip.AddrPort) bool { return !family(a.Addr()) })
}

// findServers resolves the STUN servers that the coordinator named.
func (m *meeting) findServers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	var lost []string
	m.servers, lost = m.client.Servers(ctx, m.welcome)
	for _, server := range lost {
		m.trace(Predict, "the STUN server %s cannot be found", server)
	}
}

// explore asks the STUN servers of one family from the port of the punch and
// from the spare port where there may be a second round. Where the NAT maps by
// destination it asks more.
func (m *meeting) explore(ctx context.Context, servers []netip.AddrPort) ([]rendezvous.Candidate, error) {
	host, err := sourceAddress(servers[0])
	if err != nil {
		return nil, err
	}
	ports := make([]netip.AddrPort, 1, 2)
	if m.cfg.Escalate {
		ports = ports[:2]
	}
	s := &sounding{host: host, servers: servers}
	var first []sound
	for i := range ports {
		if ports[i], err = m.claimPort(host, i); err != nil {
			return nil, err
		}
		for _, server := range servers {
			first = append(first, sound{ports[i], server})
		}
	}
	err = m.sound(ctx, s, pace, first)
	if len(s.of(ports[0])) == 0 {
		return nil, err
	}
	if moves(predict.Classify(s.seen)) && m.mayForecast() {
		m.deepen(ctx, s)
	}
	m.soundings = append(m.soundings, s)
	list := m.candidates(ports[0], s)
	if spare := s.of(ports[len(ports)-1]); len(ports) > 1 && len(spare) > 0 {
		list = append(list, spareCandidate(spare))
	}
	return list, nil
}

// mayForecast: this peer's coordinator exchanges forecasts.
func (m *meeting) mayForecast() bool {
	return !m.overUDP() && slices.Contains(m.welcome.Features, rendezvous.FeatureForecast)
}

// sourceAddress is the address from which this host would send to remote. The
// connected UDP socket sends nothing.
func sourceAddress(remote netip.AddrPort) (netip.Addr, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find a route: %w", err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// claimPort takes one of the two local ports of the meeting: 0 is the one of
// the punch, which all its sockets share, and 1 the spare.
func (m *meeting) claimPort(host netip.Addr, which int) (netip.AddrPort, error) {
	if m.anchors[which] == nil {
		port := uint16(0)
		if which == 0 {
			port = m.cfg.LocalPort
		}
		anchor, err := m.cfg.Network.Open(netip.AddrPortFrom(host, port), SocketOptions{})
		if err != nil {
			return netip.AddrPort{}, err
		}
		m.anchors[which] = anchor
	}
	return m.local(host, which == 1), nil
}

// local is where a socket of the meeting is bound.
func (m *meeting) local(host netip.Addr, spare bool) netip.AddrPort {
	which := 0
	if spare {
		which = 1
	}
	return netip.AddrPortFrom(host, m.anchors[which].Local().Port())
}

// candidates are the predicted outside address and, where both peers sit
// behind one address, the host's own.
func (m *meeting) candidates(local netip.AddrPort, s *sounding) []rendezvous.Candidate {
	seen := s.of(local)
	if moves(predict.Classify(s.seen)) {
		seen = s.seen // any port tells about the next one
	}
	behavior := brief(predict.Classify(seen))
	if m.report.NAT == nil || local.Addr().Is4() {
		m.report.NAT = &NAT{Behavior: behavior, Observations: seen}
		m.report.Reflexive = pointer(seen[0].Reflexive)
	}
	outside := aim(behavior, seen)
	m.trace(Predict, "%s appears as %s (%s mapping)", local, outside, behavior.Mapping)
	list := []rendezvous.Candidate{{Kind: rendezvous.ServerReflexive, Addr: outside, Behavior: &behavior}}
	if m.presence.SameAddress && outside != local {
		list = append(list, rendezvous.Candidate{Kind: rendezvous.Host, Addr: local})
	}
	return list
}

// aim is where a port will most likely appear to the peer.
func aim(behavior predict.Behavior, seen []predict.Observation) netip.AddrPort {
	last := seen[len(seen)-1].Reflexive
	if best := predict.Candidates(predict.Party{Behavior: behavior, Outside: last}, 1); len(best) > 0 {
		return best[0].Addr
	}
	return last
}

// brief leaves away how the NAT assigns ports where that foretells nothing,
// because it gives every destination the same one. An offer must fit a frame.
func brief(b predict.Behavior) predict.Behavior {
	if !moves(b) {
		b.Ports = predict.Ports{Model: b.Ports.Model}
	}
	return b
}

func spareCandidate(seen []predict.Observation) rendezvous.Candidate {
	behavior := brief(predict.Classify(seen))
	return rendezvous.Candidate{Kind: rendezvous.ServerReflexive, Addr: aim(behavior, seen), Behavior: &behavior, Spare: true}
}

// peerNAT keeps what the peer's offer says of its NAT.
func (m *meeting) peerNAT(theirs rendezvous.Offer) {
	for _, c := range theirs.Candidates {
		if c.Behavior != nil && (m.report.PeerNAT == nil || c.Addr.Addr().Is4()) {
			m.report.PeerNAT = &NAT{Behavior: *c.Behavior, Observations: []predict.Observation{}}
			if c.Inbound != nil {
				m.report.PeerNAT.Inbound = *c.Inbound
			}
		}
	}
}
