package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Guard keeps the kernel from answering what comes to a local endpoint, so that
// a handshake can be crafted there: a listening socket that hears nothing,
// since it wants segments with a TTL of 255 or more (IP_MINTTL; IPv6: the min
// hop count), and since a filter drops those of a neighbour too where that is
// allowed. The firewall is not touched. A socket that is only bound does not
// help: the kernel answers for it. Sockets of package rawsock may share the
// port, and a connection of the same endpoint has precedence.
type Guard struct {
	socket *Socket
	local  netip.AddrPort
}

// deafTTL is more than what has passed a router carries.
const deafTTL = 255

// OpenGuard guards a local endpoint until Close. With port 0 the kernel chooses
// one. The error is ErrPortInUse where a socket without SO_REUSEPORT has it.
func OpenGuard(local netip.AddrPort) (*Guard, error) {
	s, err := Open(local, Options{MinTTL: deafTTL})
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	if err := deafen(s.fd); err != nil {
		s.Close()
		return nil, fmt.Errorf("guard %v: %w", local, err)
	}
	if err := unix.Listen(s.fd, 1); err != nil {
		s.Close()
		return nil, fmt.Errorf("guard %v: %w", local, os.NewSyscallError("listen", err))
	}
	return &Guard{socket: s, local: s.Local()}, nil
}

// deafen attaches a filter that lets nothing through. On TCP it takes a
// capability, without which the TTL is what keeps segments out.
func deafen(fd int) error {
	nothing, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	if err := attach(fd, nothing); !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

// Local is the guarded endpoint.
func (g *Guard) Local() netip.AddrPort { return g.local }

// Close ends the guard: from now on the kernel answers what no socket wants
// with a reset.
func (g *Guard) Close() error { return g.socket.Close() }
