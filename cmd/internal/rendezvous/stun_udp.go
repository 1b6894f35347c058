package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"tcppunch/predict/probe"
)

// Answers over UDP in a second, in all and to one network. Sources can be
// forged, so that is all that a stranger can aim at somebody through here.
const (
	maxDatagrams           = 4_096
	maxDatagramsPerNetwork = 64
)

// DatagramConn is a socket that answers from the address that was asked, also
// where the host has several.
type DatagramConn struct {
	net.PacketConn
	read  func([]byte) (n int, local net.IP, from net.Addr, err error)
	write func(b []byte, local net.IP, to net.Addr) error
}

// ListenDatagrams opens UDP sockets at an address: one, or one a family where
// the address stands for all of this host's.
func ListenDatagrams(ctx context.Context, at netip.AddrPort) ([]*DatagramConn, error) {
	families := []string{"udp4", "udp6"}
	switch a := at.Addr().Unmap(); {
	case a.Is4() && !a.IsUnspecified():
		families = families[:1]
	case !a.IsUnspecified():
		families = families[1:]
	}
	var list []*DatagramConn
	var failed []error
	for _, family := range families {
		c, err := listenDatagrams(ctx, family, at)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		list = append(list, c)
	}
	if len(list) == 0 { // a host may lack a family
		return nil, errors.Join(failed...)
	}
	return list, nil
}

func listenDatagrams(ctx context.Context, family string, at netip.AddrPort) (*DatagramConn, error) {
	host := at.Addr().Unmap().String()
	if at.Addr().IsUnspecified() {
		host = ""
	}
	var config net.ListenConfig
	raw, err := config.ListenPacket(ctx, family, net.JoinHostPort(host, fmt.Sprint(at.Port())))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	c := &DatagramConn{PacketConn: raw}
	if family == "udp4" {
		c.over4(ipv4.NewPacketConn(raw))
	} else {
		c.over6(ipv6.NewPacketConn(raw))
	}
	return c, nil
}

// over4 asks the system which address a datagram was sent to. Where it does not
// say, it chooses the answer's source itself.
func (c *DatagramConn) over4(conn *ipv4.PacketConn) {
	conn.SetControlMessage(ipv4.FlagDst, true)
	c.read = func(b []byte) (int, net.IP, net.Addr, error) {
		n, m, from, err := conn.ReadFrom(b)
		if m == nil {
			return n, nil, from, err
		}
		return n, m.Dst, from, err
	}
	c.write = func(b []byte, local net.IP, to net.Addr) error {
		_, err := conn.WriteTo(b, &ipv4.ControlMessage{Src: local}, to)
		return err
	}
}

func (c *DatagramConn) over6(conn *ipv6.PacketConn) {
	conn.SetControlMessage(ipv6.FlagDst, true)
	c.read = func(b []byte) (int, net.IP, net.Addr, error) {
		n, m, from, err := conn.ReadFrom(b)
		if m == nil {
			return n, nil, from, err
		}
		return n, m.Dst, from, err
	}
	c.write = func(b []byte, local net.IP, to net.Addr) error {
		_, err := conn.WriteTo(b, &ipv6.ControlMessage{Src: local}, to)
		return err
	}
}

// ServeSTUNDatagrams answers STUN Binding requests over UDP (RFC 8489) until
// ctx ends, and closes conn. A request attests no address of a peer.
func (c *Coordinator) ServeSTUNDatagrams(ctx context.Context, conn *DatagramConn, other netip.AddrPort) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	responder, share := probe.Responder{Other: other}, quota{most: maxDatagrams, perNet: maxDatagramsPerNetwork}
	buffer := make([]byte, probe.MaxMessage+1)
	for {
		n, local, from, err := conn.read(buffer)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("serve STUN over UDP: %w", err)
		case err != nil: // an ICMP error to an earlier answer, on some systems
			continue
		}
		source := unmap(from.(*net.UDPAddr).AddrPort())
		if !share.take(source.Addr(), time.Now()) {
			continue
		}
		if answer := responder.Datagram(buffer[:n], source); answer != nil {
			conn.write(answer, local, from)
		}
	}
}

// quota counts what was let through in the current second, in all and for each
// network. Its memory is bounded by most.
type quota struct {
	began  time.Time
	gate   *gate
	most   int
	perNet int
}

func (q *quota) take(addr netip.Addr, now time.Time) bool {
	if q.gate == nil || now.Sub(q.began) >= time.Second {
		q.began, q.gate = now, newGate(q.most, q.perNet)
	}
	return q.gate.enter(addr)
}
