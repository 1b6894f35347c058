package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"tcppunch/captures"
	"tcppunch/cmd/internal/punch"
	"tcppunch/rawsock"
	"tcppunch/timing"
)

// network hands package rawsock to package punch.
type network struct{ capture bool }

func (network) Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	return rawsock.Dial(ctx, local, remote, rawsock.Options{})
}

func (network) Open(local netip.AddrPort, o punch.SocketOptions) (punch.Socket, error) {
	s, err := rawsock.Open(local, socketOptions(o))
	if err != nil {
		return nil, err
	}
	if o.ISN != 0 {
		if err := s.PresetISN(o.ISN); err != nil {
			s.Close()
			return nil, err
		}
	}
	return socket{s}, nil
}

// socket translates the options of package punch.
type socket struct{ *rawsock.Socket }

func (s socket) Set(o punch.SocketOptions) error { return s.Socket.Set(socketOptions(o)) }

func socketOptions(o punch.SocketOptions) rawsock.Options {
	return rawsock.Options{TTL: o.TTL, MinTTL: o.MinTTL, SynCount: o.SYNCount}
}

// Hop sends a SYN that is to die at a router, unprivileged: the kernel keeps the
// ICMP error. What stands instead is closed.
func (network) Hop(ctx context.Context, local netip.Addr, remote netip.AddrPort, ttl int) (netip.Addr, error) {
	s, err := rawsock.Open(netip.AddrPortFrom(local, 0), rawsock.Options{TTL: ttl})
	if err != nil {
		return netip.Addr{}, err
	}
	defer s.Close()
	if err := s.KeepErrors(); err != nil {
		return netip.Addr{}, err
	}
	if err := s.Connect(remote); err != nil {
		return netip.Addr{}, err
	}
	err = s.Wait(ctx)
	if rejection, ok := s.Rejection(); ok && rejection.Exceeded() {
		return rejection.From, nil
	}
	if errors.Is(err, rawsock.ErrRefused) {
		return netip.Addr{}, nil // by the server
	}
	return netip.Addr{}, err
}

func (network) Listen(local netip.AddrPort) (net.Listener, error) {
	return rawsock.Listen(context.Background(), local)
}

func (network) Launchpad(lead time.Duration) punch.Launchpad {
	return launchpad{rawsock.NewLaunchpad(rawsock.LaunchConfig{Lead: lead})}
}

type launchpad struct{ *rawsock.Launchpad }

func (l launchpad) Step() string { return l.Privileges().Step.String() }

// Launch carries shots and instants over: both packages count instants on
// CLOCK_MONOTONIC.
func (l launchpad) Launch(ctx context.Context, at timing.Instant, shots []punch.Shot) ([]punch.Fired, error) {
	list := make([]rawsock.Shot, len(shots))
	for i, s := range shots {
		if other, ok := s.Socket.(shooter); ok {
			list[i] = other.shot()
			continue
		}
		list[i] = rawsock.Shot{Socket: s.Socket.(socket).Socket, Remote: s.Remote}
	}
	done, err := l.Launchpad.Launch(ctx, int64(at), list)
	fired := make([]punch.Fired, len(done))
	for i, d := range done {
		fired[i] = punch.Fired{Called: timing.Instant(d.Before + d.Ahead), Err: d.Err}
	}
	return fired, err
}

func (l launchpad) Glance() timing.Instant { return timing.Instant(l.Launchpad.Glance()) }

// Tap captures the headers of the meeting's own flow, on the interface that
// holds its addresses.
func (n network) Tap(local []netip.AddrPort, peer []netip.Addr) (punch.Tap, error) {
	if !n.capture {
		return nil, errors.New("switched off")
	}
	name, err := interfaceOf(local)
	if err != nil {
		return nil, err
	}
	config := rawsock.TapConfig{Interface: name, Ports: portsOf(local)}
	if len(config.Ports) > rawsock.MaxPorts && len(peer) == 1 {
		config.Host, config.Ports = peer[0], nil // a volley has more ports than a filter
	}
	tap, err := rawsock.OpenTap(config)
	if err != nil {
		return nil, err
	}
	t := &memoryTap{tap: tap, done: make(chan struct{})}
	t.taken.Interface = captures.Interface{Name: name, LinkType: captures.LinkType(tap.LinkType()), SnapLen: meetingSnapLen}
	go t.run()
	return t, nil
}

func portsOf(list []netip.AddrPort) []uint16 {
	var ports []uint16
	for _, a := range list {
		if !slices.Contains(ports, a.Port()) {
			ports = append(ports, a.Port())
		}
	}
	return ports
}

const (
	meetingSnapLen = 256  // rawsock's default: headers with all their options
	meetingPackets = 4096 // kept of one meeting; an opening has tens
)

// interfaceOf names the interface that holds all the addresses, or "any".
func interfaceOf(local []netip.AddrPort) (string, error) {
	list, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range list {
		held, _ := i.Addrs()
		if holdsAll(held, local) {
			return i.Name, nil
		}
	}
	return "any", nil
}

func holdsAll(held []net.Addr, wanted []netip.AddrPort) bool {
	for _, w := range wanted {
		found := false
		for _, h := range held {
			if n, ok := h.(*net.IPNet); ok && n.IP.Equal(w.Addr().AsSlice()) {
				found = true
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// memoryTap collects what a tap delivers until it is stopped.
type memoryTap struct {
	tap   *rawsock.Tap
	taken punch.Capture
	done  chan struct{}
}

func (t *memoryTap) run() {
	defer close(t.done)
	for {
		data, info, err := t.tap.ReadPacketData()
		if errors.Is(err, io.EOF) || err != nil {
			return
		}
		if len(t.taken.Packets) < meetingPackets {
			t.taken.Packets = append(t.taken.Packets, captures.Packet{Time: info.Timestamp, Data: data, Length: info.Length})
		}
	}
}

func (t *memoryTap) Stop() punch.Capture {
	t.tap.Stop()
	<-t.done
	_, t.taken.Dropped = t.tap.Stats()
	t.tap.Close()
	return t.taken
}

// onLink lists the networks of this host's own interfaces.
func onLink() []netip.Prefix {
	var list []netip.Prefix
	held, _ := net.InterfaceAddrs()
	for _, h := range held {
		if n, ok := h.(*net.IPNet); ok {
			if p, err := netip.ParsePrefix(n.String()); err == nil {
				list = append(list, p.Masked())
			}
		}
	}
	return list
}
