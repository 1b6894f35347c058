package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"tcppunch/cmd/internal/punch"
	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/rawsock"
)

// Opening opens all that a crafted handshake needs, reads how its SYN would
// look, and closes it again; nothing is sent.
func (network) Opening(towards netip.Addr) (rendezvous.Opening, error) {
	const discard = 9 // a port that is never reached
	remote := netip.AddrPortFrom(towards, discard)
	source, err := routeSource(remote)
	if err != nil {
		return rendezvous.Opening{}, fmt.Errorf("find a route to %v: %w", towards, err)
	}
	c, err := rawsock.OpenCrafted(rawsock.CraftedConfig{Local: netip.AddrPortFrom(source, 0), Remote: remote})
	if err != nil {
		return rendezvous.Opening{}, err
	}
	syn := c.SYN()
	return rendezvous.Opening{ISN: syn.Seq, Window: syn.Window, Options: syn.Options}, c.Close()
}

func (network) Craft(local, remote netip.AddrPort, o punch.Craft) (punch.Socket, error) {
	c, err := rawsock.OpenCrafted(rawsock.CraftedConfig{
		Local: local, Remote: remote, TTL: uint8(o.TTL), ISN: o.Own.ISN, Window: o.Own.Window, Options: o.Own.Options,
		Peer: &rawsock.Segment{From: remote, To: local, Flags: rawsock.SYN, Seq: o.Peer.ISN, Window: o.Peer.Window, Options: o.Peer.Options},
	})
	if err != nil {
		return nil, err
	}
	return &craftedSocket{Crafted: c}, nil
}

// shooter is a socket of which something else than a connect() is launched.
type shooter interface{ shot() rawsock.Shot }

// craftedSocket is a crafted handshake as a socket of package punch.
type craftedSocket struct {
	*rawsock.Crafted
	mu    sync.Mutex // guards what Wait leaves behind
	sent  int
	conn  net.Conn
	taken bool
}

var errNoConnect = errors.New("a crafted SYN is launched, not connected")

func (*craftedSocket) Connect(netip.AddrPort) error  { return errNoConnect }
func (*craftedSocket) Set(punch.SocketOptions) error { return nil }

func (s *craftedSocket) shot() rawsock.Shot {
	s.sent++
	return s.Crafted.Shot()
}

// Wait goes on with the handshake.
func (s *craftedSocket) Wait(ctx context.Context) error {
	conn, err := s.Crafted.Wait(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	return nil
}

func (s *craftedSocket) Established() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

func (s *craftedSocket) Conn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = true
	return s.conn, nil
}

// SYNs counts the SYN; what follows is none.
func (s *craftedSocket) SYNs() (called, retransmitted int) { return s.sent, 0 }

// Close ends what nobody has taken: the peer gets a reset.
func (s *craftedSocket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && !s.taken {
		s.conn.Close()
	}
	return s.Crafted.Close()
}

// Fake prepares a SYN with a number that no socket knows of.
func (network) Fake(local, remote netip.AddrPort, c punch.Craft) (punch.Socket, error) {
	sender, err := rawsock.OpenSender(local.Addr(), rawsock.Options{})
	if err != nil {
		return nil, err
	}
	volley, err := sender.Load([]rawsock.Segment{{From: local, To: remote, Flags: rawsock.SYN, TTL: uint8(c.TTL),
		Seq: c.Own.ISN, Window: c.Own.Window, Options: c.Own.Options, DontFragment: local.Addr().Is4()}})
	if err != nil {
		return nil, errors.Join(err, sender.Close())
	}
	return &fakeSYN{sender: sender, volley: volley, local: local}, nil
}

// fakeSYN is a SYN without a connection as a socket of package punch.
type fakeSYN struct {
	sender *rawsock.Sender
	volley *rawsock.Volley
	local  netip.AddrPort
	sent   int
}

func (f *fakeSYN) shot() rawsock.Shot {
	f.sent++
	return rawsock.Shot{Volley: f.volley}
}

func (f *fakeSYN) Local() netip.AddrPort             { return f.local }
func (*fakeSYN) Connect(netip.AddrPort) error        { return errNoConnect }
func (*fakeSYN) Wait(context.Context) error          { return errNoConnect }
func (*fakeSYN) Established() bool                   { return false }
func (*fakeSYN) Set(punch.SocketOptions) error       { return nil }
func (*fakeSYN) Conn() (net.Conn, error)             { return nil, errNoConnect }
func (f *fakeSYN) SYNs() (called, retransmitted int) { return f.sent, 0 }
func (f *fakeSYN) Close() error                      { return f.sender.Close() }
