package punch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict/probe"
	"tcppunch/timing"
)

// A meeting over UDP is the control of an experiment: the same coordinator,
// clocks, candidates, schedule and budget, so that what differs is the
// transport. It has one socket, which asks the STUN servers and then punches.

func (m *meeting) overUDP() bool { return m.cfg.Transport == rendezvous.UDP }

// gatherUDP finds out how the socket of the punch appears from outside. It has
// the family by which the coordinator was reached: only there has the
// coordinator seen a completed connection from this host's address.
func (m *meeting) gatherUDP(ctx context.Context, servers []netip.AddrPort) ([]rendezvous.Candidate, error) {
	family := netip.Addr.Is6
	if m.client.Remote().Addr().Unmap().Is4() {
		family = netip.Addr.Is4
	}
	if servers = only(servers, family); len(servers) == 0 {
		return nil, errors.New("learn this host's outside address: the coordinator names no STUN server")
	}
	host, err := sourceAddress(servers[0])
	if err != nil {
		return nil, err
	}
	m.datagram, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, m.cfg.LocalPort)))
	if err != nil {
		return nil, fmt.Errorf("open a UDP socket: %w", err)
	}
	local := unmapped(m.datagram.LocalAddr().(*net.UDPAddr).AddrPort())
	m.report.Local = &local
	seen, err := probe.ObserveDatagrams(ctx, m.datagram, local, servers)
	if len(seen) == 0 {
		return nil, fmt.Errorf("learn this host's outside address: %w", err)
	}
	return m.candidates(local, &sounding{host: host, servers: servers, seen: seen}), nil
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// launchUDP sends datagrams from the instant on, until both sides have proven
// their keys or the budget or the time is spent. Nothing is judged from packets.
func (m *meeting) launchUDP(ctx context.Context, p plan) error {
	m.report.Probability = nil // it is that of SYNs, which nobody can answer from another port
	m.report.Remote = pointer(p.pairs[0].Remote.Addr)
	m.cfg.Clock.Disturb(m.cfg.Disturb)
	if err := m.checkClock(); err != nil {
		return err
	}
	e := newDatagramExchange(m.cfg.Identity, p.peerKey, m.presence.Session, m.datagram)
	for _, pair := range p.pairs {
		e.aims = append(e.aims, aimed{remote: pair.Remote.Addr, left: pair.SYNs})
	}
	if err := timing.Wait(ctx, p.at.Add(m.cfg.Late)); err != nil {
		return err
	}
	m.trace(Launch, "datagrams to %s", p.pairs[0].Remote.Addr)
	began := timing.Now()
	err := e.run(ctx, began, m.cfg.Timeout)
	m.recordUDP(p, e, began)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case e.proven == 0 && e.sent == 0:
		return err // the system let nothing leave, so the network has not answered
	case e.proven == 0:
		return m.causeUDP(e)
	}
	m.trace(Explain, "%s", m.report.Explanation)
	return nil
}

// recordUDP puts what the exchange showed into the report.
func (m *meeting) recordUDP(p plan, e *datagramExchange, began timing.Instant) {
	r := &m.report
	r.SYNsOnWire = e.sent
	r.LaunchError, r.LaunchFrom = pointer(began.Sub(p.at)), pointer("call")
	round := Round{Strategy: "datagrams", Attempts: len(e.aims), Outcome: "failed"}
	for _, a := range e.aims {
		attempt := Attempt{Round: 1, Local: *r.Local, Remote: a.remote, Called: began.Sub(p.at), Ended: timing.Now().Sub(p.at), Outcome: Unanswered}
		if e.proven != 0 {
			attempt.Outcome = Abandoned
			if a.remote.Addr() == e.peer.Addr() {
				attempt.Outcome = Stood
			}
		}
		r.Attempts = append(r.Attempts, attempt)
	}
	if e.proven != 0 {
		round.Outcome = "established"
		r.Established, r.Remote = true, &e.peer
		r.EstablishedAfter, r.AuthenticatedAfter = pointer(e.answered.Sub(p.at)), pointer(e.proven.Sub(p.at))
		r.Explanation = fmt.Sprintf("datagrams went both ways %s after the instant, with %d sent, and both keys were proven after %s",
			r.EstablishedAfter.Round(10*time.Microsecond), e.sent, r.AuthenticatedAfter.Round(10*time.Microsecond))
	}
	r.Rounds = append(r.Rounds, round)
}

// causeUDP is the likeliest reason that this peer can tell by itself.
func (m *meeting) causeUDP(e *datagramExchange) error {
	switch {
	case e.forged > 0 && e.answered == 0:
		return &failed{AuthFailed, fmt.Sprintf("%d datagrams arrived that the peer's key did not sign for this meeting", e.forged)}
	case m.hard() && e.answered == 0:
		return &failed{PortMispredicted, fmt.Sprintf("no datagram was answered, and a NAT on the way gives each destination another port: the aimed port %d was a guess", m.report.Remote.Port())}
	}
	return &failed{NATFiltered, fmt.Sprintf("no datagram was answered within %s: a NAT or firewall between the peers dropped them", m.cfg.Timeout)}
}
