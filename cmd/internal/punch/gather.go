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
	"tcppunch/predict/probe"
)

// observeTimeout is how long the STUN servers may take: three retransmissions
// of a SYN at 1 s.
const observeTimeout = 4 * time.Second

// gather finds out how the local port appears from outside, for each address
// family, and lists this peer's candidates.
func (m *meeting) gather(ctx context.Context) ([]rendezvous.Candidate, error) {
	ctx, cancel := context.WithTimeout(ctx, observeTimeout)
	defer cancel()
	servers := m.stunServers(ctx)
	var list []rendezvous.Candidate
	var problems []error
	for _, family := range [][]netip.AddrPort{only(servers, netip.Addr.Is6), only(servers, netip.Addr.Is4)} {
		if len(family) == 0 {
			continue
		}
		found, err := m.observe(ctx, family)
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

// stunServers resolves what the coordinator named; an empty host is the
// coordinator itself.
func (m *meeting) stunServers(ctx context.Context) []netip.AddrPort {
	var list []netip.AddrPort
	for _, server := range m.welcome.STUN {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			continue
		}
		if host == "" {
			host = m.client.Remote().Addr().String()
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		number, portErr := net.DefaultResolver.LookupPort(ctx, "tcp", port)
		if err != nil || portErr != nil {
			m.trace(Predict, "the STUN server %s cannot be found", server)
			continue
		}
		for _, a := range addrs {
			list = append(list, netip.AddrPortFrom(a.Unmap(), uint16(number)))
		}
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

// observe asks the STUN servers of one family from the port of the punch.
func (m *meeting) observe(ctx context.Context, servers []netip.AddrPort) ([]rendezvous.Candidate, error) {
	host, err := sourceAddress(servers[0])
	if err != nil {
		return nil, err
	}
	local, err := m.claimPort(host)
	if err != nil {
		return nil, err
	}
	held, err := probe.ObserveAll(ctx, m.cfg.Network, local, servers, m.welcome.Token)
	m.held = append(m.held, held...)
	if len(held) == 0 {
		return nil, err
	}
	var seen []predict.Observation
	for _, h := range held {
		seen = append(seen, h.Observation)
	}
	return m.candidates(local, seen), nil
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

// claimPort takes the local port that all sockets of the meeting share.
func (m *meeting) claimPort(host netip.Addr) (netip.AddrPort, error) {
	if m.anchor == nil {
		anchor, err := m.cfg.Network.Open(netip.AddrPortFrom(host, m.cfg.LocalPort), SocketOptions{})
		if err != nil {
			return netip.AddrPort{}, err
		}
		m.anchor = anchor
	}
	return netip.AddrPortFrom(host, m.anchor.Local().Port()), nil
}

// candidates are the predicted outside address and, where both peers sit
// behind one address, the host's own.
func (m *meeting) candidates(local netip.AddrPort, seen []predict.Observation) []rendezvous.Candidate {
	behavior := predict.Classify(seen)
	if m.report.NAT == nil || local.Addr().Is4() {
		m.report.NAT = &NAT{Behavior: behavior, Observations: seen}
		m.report.Reflexive = pointer(seen[0].Reflexive)
	}
	outside := seen[len(seen)-1].Reflexive
	if best := predict.Candidates(behavior, seen, 1); len(best) > 0 {
		outside = best[0].Addr
	}
	m.trace(Predict, "%s appears as %s (%s mapping)", local, outside, behavior.Mapping)
	list := []rendezvous.Candidate{{Kind: rendezvous.ServerReflexive, Addr: outside, Behavior: &behavior}}
	if m.presence.SameAddress && outside != local {
		list = append(list, rendezvous.Candidate{Kind: rendezvous.Host, Addr: local})
	}
	return list
}

// peerNAT keeps what the peer's offer says of its NAT.
func (m *meeting) peerNAT(theirs rendezvous.Offer) {
	for _, c := range theirs.Candidates {
		if c.Behavior != nil && (m.report.PeerNAT == nil || c.Addr.Addr().Is4()) {
			m.report.PeerNAT = &NAT{Behavior: *c.Behavior}
		}
	}
}
