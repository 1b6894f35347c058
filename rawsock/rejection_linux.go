package rawsock

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

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
	return Rejection{Type: m.Data[5], Code: m.Data[6], From: offender(m.Data)}, true
}

// offender reads the address that follows the error (SO_EE_OFFENDER): a struct
// sockaddr_in, or sockaddr_in6 on a socket of IPv6.
func offender(data []byte) netip.Addr {
	const size, in4, in6 = 16, 4, 8 // of the error; before the address in each
	if len(data) < size+in4+4 {
		return netip.Addr{}
	}
	at := data[size:]
	switch family := binary.NativeEndian.Uint16(at); {
	case family == unix.AF_INET:
		return netip.AddrFrom4([4]byte(at[in4:]))
	case family == unix.AF_INET6 && len(at) >= in6+16:
		return netip.AddrFrom16([16]byte(at[in6:])).Unmap()
	}
	return netip.Addr{}
}
