package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Open makes a non-blocking TCP socket with SO_REUSEADDR, SO_REUSEPORT and
// TCP_NODELAY, applies o and binds it to local. Port 0 lets the kernel choose;
// the address may be unspecified. IPv6 sockets carry no IPv4. The error is
// ErrPortInUse, os.ErrPermission for a port below 1024, or what the kernel
// says about o.
func Open(local netip.AddrPort, o Options) (*Socket, error) {
	local = unmap(local)
	if local.Port() == 0 && local.Addr().IsValid() {
		return openAnyPort(local, o)
	}
	fd, err := newSocket(local)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", local, err)
	}
	s := &Socket{fd: fd}
	if err := s.prepare(local, o); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %v: %w", local, err)
	}
	s.file = os.NewFile(uintptr(fd), "tcp")
	if s.raw, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("open %v: %w", local, err)
	}
	return s, nil
}

// openAnyPort binds a socket to port 0 to learn a free port, and then the real
// one to that port by number: Linux lets go of a port that it chose itself when
// an attempt fails, and the retry would leave from another.
func openAnyPort(local netip.AddrPort, o Options) (*Socket, error) {
	fd, err := newSocket(local)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", local, err)
	}
	defer unix.Close(fd)
	port, err := choosePort(fd, local)
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", local, err)
	}
	return Open(netip.AddrPortFrom(local.Addr(), port), o)
}

func choosePort(fd int, local netip.AddrPort) (uint16, error) {
	var any sockaddr
	if err := any.set(local); err != nil {
		return 0, err
	}
	if err := setCommon(fd, local.Addr().Is6()); err != nil {
		return 0, err
	}
	if err := bind(fd, &any); err != nil {
		return 0, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return portOf(sa), nil
}

func newSocket(local netip.AddrPort) (int, error) {
	if !local.Addr().IsValid() {
		return -1, errors.New("not an address")
	}
	family := unix.AF_INET6
	if local.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	return fd, os.NewSyscallError("socket", err)
}

func (s *Socket) prepare(local netip.AddrPort, o Options) error {
	var bound sockaddr
	if err := bound.set(local); err != nil {
		return err
	}
	if err := setCommon(s.fd, local.Addr().Is6()); err != nil {
		return err
	}
	s.local = local // the family of the options
	if err := s.apply(o); err != nil {
		return err
	}
	if err := bind(s.fd, &bound); err != nil {
		return err
	}
	// The socket's scope is that of its own address, so that no Connect to the
	// same link need look its name up.
	s.remote = bound
	return nil
}

func setCommon(fd int, v6 bool) error {
	type option struct {
		name         string
		level, which int
	}
	list := []option{
		{"SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR},
		{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT},
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY},
	}
	if v6 {
		list = append(list, option{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY})
	}
	for _, o := range list {
		if err := unix.SetsockoptInt(fd, o.level, o.which, 1); err != nil {
			return os.NewSyscallError("set "+o.name, err)
		}
	}
	return nil
}

func bind(fd int, a *sockaddr) error {
	_, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&a.bytes)), uintptr(a.len))
	switch errno {
	case 0:
		return nil
	case unix.EADDRINUSE:
		return fmt.Errorf("%w: %w", ErrPortInUse, os.NewSyscallError("bind", errno))
	case unix.EACCES:
		return fmt.Errorf("ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE: %w", os.NewSyscallError("bind", errno))
	}
	return os.NewSyscallError("bind", errno)
}

func portOf(sa unix.Sockaddr) uint16 {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return uint16(sa.Port)
	case *unix.SockaddrInet6:
		return uint16(sa.Port)
	}
	return 0
}
