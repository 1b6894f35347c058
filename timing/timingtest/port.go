package timingtest

import (
	"net"
	"net/netip"
	"time"
)

// port is a socket that says when messages arrived.
type port interface {
	read(b []byte) (n int, from netip.AddrPort, at time.Time, err error)
	write(b []byte, to netip.AddrPort)
	now() time.Time
}

// newPort uses the kernel's stamps where it can.
func newPort(conn net.PacketConn, now func() time.Time) port {
	if now != nil {
		return plainPort{conn, now}
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		if p := newStampedPort(udp); p != nil {
			return p
		}
	}
	return plainPort{conn, time.Now}
}

// plainPort takes the time when a message has been read.
type plainPort struct {
	conn  net.PacketConn
	clock func() time.Time
}

func (p plainPort) now() time.Time { return p.clock() }

func (p plainPort) read(b []byte) (int, netip.AddrPort, time.Time, error) {
	n, from, err := p.conn.ReadFrom(b)
	at := p.clock()
	if err != nil {
		return n, netip.AddrPort{}, at, err
	}
	to, err := netip.ParseAddrPort(from.String())
	return n, to, at, err
}

// write drops what cannot be sent, as a network would.
func (p plainPort) write(b []byte, to netip.AddrPort) {
	p.conn.WriteTo(b, net.UDPAddrFromAddrPort(to))
}
