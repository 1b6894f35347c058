package rawsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Ear learns from which endpoint SYNs come to a local one, unprivileged and
// without being heard: a listening socket whose SYN-ACKs leave with a TTL of 1
// and die at the first router, before they reach the sender's NAT. What it
// heard stands in the kernel's table of connections, in SYN-RECEIVED, for about
// a second after Close too; so long no socket can connect between the two
// endpoints. Sockets of this package may share the port.
type Ear struct{ socket *Socket }

// earBacklog is how many SYNs may wait (listen(2)); a stranger's count too.
const earBacklog = 16

// OpenEar listens at a local endpoint until Close. With port 0 the kernel
// chooses one.
func OpenEar(local netip.AddrPort) (*Ear, error) {
	s, err := Open(local, Options{TTL: 1})
	if err != nil {
		return nil, fmt.Errorf("ear: %w", err)
	}
	if err := unix.Listen(s.fd, earBacklog); err != nil {
		s.Close()
		return nil, fmt.Errorf("ear %v: %w", local, os.NewSyscallError("listen", err))
	}
	return &Ear{s}, nil
}

// Local is the endpoint that is listened to.
func (e *Ear) Local() netip.AddrPort { return e.socket.Local() }

// Heard are the endpoints whose SYNs are remembered, also after Close.
func (e *Ear) Heard() ([]netip.AddrPort, error) {
	path := "/proc/thread-self/net/tcp"
	if e.Local().Addr().Is6() {
		path += "6"
	}
	table, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("look for SYNs at %v: %w", e.Local(), err)
	}
	return received(string(table), e.Local()), nil
}

// Close ends the listening; from now on the kernel answers SYNs with a reset.
func (e *Ear) Close() error { return e.socket.Close() }

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// KeepErrors makes the kernel keep the ICMP errors that reach the socket, for
// Rejection (IP_RECVERR, ip(7)).
func (s *Socket) KeepErrors() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return ErrClosed
	}
	if s.local.Addr().Is6() {
		return s.setInt("IPV6_RECVERR", unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
	return s.setInt("IP_RECVERR", unix.IPPROTO_IP, unix.IP_RECVERR, 1)
}

// Rejection takes the oldest ICMP error that was kept; false if there is none.
// With it a refusal by a reset and one by an ICMP port unreachable, for which
// connect() has one error number, can be told apart.
func (s *Socket) Rejection() (Rejection, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return Rejection{}, false
	}
	packet, control := make([]byte, 64), make([]byte, 256)
	_, n, _, _, err := unix.Recvmsg(s.fd, packet, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return Rejection{}, false
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return Rejection{}, false
	}
	for _, m := range messages {
		if r, err := rejectionOf(m); err == nil {
			return r, true
		}
	}
	return Rejection{}, false
}

var errNoRejection = errors.New("not an ICMP error")

// rejectionOf reads a struct sock_extended_err (ip(7)): the error number in
// four bytes, origin, type, code.
func rejectionOf(m unix.SocketControlMessage) (Rejection, error) {
	isError := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR ||
		m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
	if !isError || len(m.Data) < 7 {
		return Rejection{}, errNoRejection
	}
	if origin := m.Data[4]; origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
		return Rejection{}, errNoRejection
	}
	return Rejection{Type: m.Data[5], Code: m.Data[6]}, nil
}
