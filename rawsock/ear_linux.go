package rawsock

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Ear is a local port that SYNs meet in silence, and that tells from where they
// came. The silence is a Guard's and needs no privilege, the telling needs
// CAP_NET_RAW. Sockets of this package may share the port.
type Ear struct {
	guard   *Guard
	packets *receiver // nil where it is not allowed
	refused error     // why not
	held    *Socket   // after Refuse
}

// OpenEar guards a local endpoint and listens to it until Close. With port 0
// the kernel chooses one.
func OpenEar(local netip.AddrPort) (*Ear, error) {
	guard, err := OpenGuard(local)
	if err != nil {
		return nil, err
	}
	e := &Ear{guard: guard}
	e.packets, e.refused = openReceiver(guard.Local(), netip.AddrPort{})
	return e, nil
}

// Local is the endpoint that is listened to.
func (e *Ear) Local() netip.AddrPort { return e.guard.Local() }

// Heard waits for the next SYN, and says from where it came. The error is a
// *PrivilegeError where this process may not see packets.
func (e *Ear) Heard(ctx context.Context) (netip.AddrPort, error) {
	if e.packets == nil {
		return netip.AddrPort{}, fmt.Errorf("listen for SYNs at %v: %w", e.Local(), e.refused)
	}
	for {
		packet, err := e.packets.next(ctx, time.Time{})
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("listen for SYNs at %v: %w", e.Local(), err)
		}
		s, err := ParseSegment(packet)
		if err == nil && s.To == e.Local() && s.Flags.Has(SYN) && !s.Flags.Has(ACK) {
			return s.From, nil
		}
	}
}

// Refuse ends the silence: from now on SYNs meet a reset. The port stays taken.
func (e *Ear) Refuse() error {
	held, err := Open(e.Local(), Options{})
	if err != nil {
		return err
	}
	e.held = held
	return e.guard.Close()
}

// Close lets the port go.
func (e *Ear) Close() error {
	err := e.guard.Close()
	if e.held != nil {
		err = errors.Join(err, e.held.Close())
	}
	if e.packets != nil {
		e.packets.close()
	}
	return err
}

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
		if r, ok := rejectionOf(m); ok {
			return r, true
		}
	}
	return Rejection{}, false
}

// rejectionOf reads a struct sock_extended_err (ip(7)): the error number in
// four bytes, origin, type, code.
func rejectionOf(m unix.SocketControlMessage) (Rejection, bool) {
	isError := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR ||
		m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
	if !isError || len(m.Data) < 7 {
		return Rejection{}, false
	}
	if origin := m.Data[4]; origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
		return Rejection{}, false
	}
	return Rejection{Type: m.Data[5], Code: m.Data[6]}, true
}
