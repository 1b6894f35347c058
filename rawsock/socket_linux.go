package rawsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Socket is one prepared active open from a fixed local port. Connect and
// Wait may run in different goroutines, but each only once at a time; Close
// and Abort may be called from anywhere and end a Wait.
type Socket struct {
	local netip.AddrPort
	file  *os.File // owns the descriptor, known to the runtime's poller
	raw   syscall.RawConn
	fd    int

	mu      sync.Mutex // guards the descriptor's life and all below
	options Options
	retries int // the kernel's TCP_SYNCNT, known once it has been changed
	remote  sockaddr
	state   state
	failed  syscall.Errno // why the last attempt ended
	info    unix.TCPInfo  // room for the kernel's answer
	infoLen uint32
	called  int
	resent  int // retransmissions of the attempts that are over
}

// state is where a Socket stands; unlike the kernel's it remembers whether the
// outcome of the last connect() has been collected.
type state uint8

const (
	idle state = iota
	connecting
	established
	closed
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

// Local is the bound address and port; the address is as it was given to Open.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Connect makes one connect() call, with which one SYN leaves, and returns nil
// when the attempt is in progress or has already succeeded. While an attempt
// is in progress a further call sends nothing and returns nil. After an
// attempt failed the next call starts a new one from the same port, whether or
// not Wait has told the failure.
//
// It is one raw system call without allocation, to be called from a locked
// thread at the very instant; only a remote with a zone other than the local
// one costs a look-up. Errors: ErrPortInUse with EADDRNOTAVAIL when the kernel
// still knows a connection between the two endpoints, be it in TIME-WAIT or
// accepted by a listener; ErrUnreachable with ENETUNREACH and the like.
func (s *Socket) Connect(remote netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == connecting {
		s.collect()
	}
	if s.state == connecting || s.state == established {
		return nil
	}
	if s.state == closed {
		return ErrClosed
	}
	if err := s.aim(remote); err != nil {
		return err
	}
	if errno := s.connect(); errno != 0 && errno != unix.EINPROGRESS {
		s.failed = errno
		return fmt.Errorf("connect %v to %v: %w", s.local, remote, explain(errno))
	}
	s.called++
	s.state, s.failed = connecting, 0
	return nil
}

func (s *Socket) aim(remote netip.AddrPort) error {
	if err := s.remote.set(remote); err != nil {
		return fmt.Errorf("connect %v to %v: %w", s.local, remote, err)
	}
	return nil
}

// connect is the system call alone. It never blocks, so that the runtime need
// not hear of it.
func (s *Socket) connect() syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&s.remote.bytes)), uintptr(s.remote.len))
	return errno
}

// collect learns the outcome of the attempt in progress. It asks by a further
// connect(), which sends nothing as long as the outcome has not been
// collected; SO_ERROR would take the error but leave the socket half
// connected, and make the next real connect() fail with ECONNABORTED.
func (s *Socket) collect() {
	resent := s.retransmissions() // the next call wipes it out after a failure
	switch errno := s.connect(); errno {
	case unix.EALREADY, unix.EINPROGRESS:
	case 0, unix.EISCONN:
		s.state = established
	default:
		s.state, s.failed = idle, errno
		s.resent += resent
	}
}

// retransmissions counts those of the present attempt.
func (s *Socket) retransmissions() int {
	if s.state != connecting && s.state != established {
		return 0
	}
	s.infoLen = uint32(unsafe.Sizeof(s.info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(&s.info)), uintptr(unsafe.Pointer(&s.infoLen)), 0)
	if errno != 0 {
		return 0
	}
	return int(s.info.Total_retrans)
}

// explain adds this package's reason to an error number of connect().
func explain(errno syscall.Errno) error {
	err := os.NewSyscallError("connect", errno)
	switch errno {
	case unix.ECONNREFUSED, unix.ECONNRESET:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EHOSTDOWN, unix.ENONET, unix.ENOPROTOOPT, unix.EPROTO:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case unix.ETIMEDOUT:
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case unix.EADDRNOTAVAIL:
		return fmt.Errorf("%w: %w", ErrPortInUse, err)
	}
	return err
}

// Wait returns nil once the connection is ESTABLISHED, or else the reason why
// it will not be: ErrRefused, ErrUnreachable, ErrTimeout, ErrClosed or
// ctx.Err(). It may be called before Connect, and after a failure tells the
// last one until Connect starts anew. It sleeps in the runtime's poller, which
// costs no thread.
func (s *Socket) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if over, err := s.outcome(); over {
		return err
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.file.SetWriteDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	err := s.waitWritable()
	if !stop() {
		<-interrupted
		s.file.SetWriteDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

func (s *Socket) waitWritable() error {
	var result error
	err := s.raw.Write(func(uintptr) (over bool) {
		over, result = s.outcome()
		return over
	})
	if errors.Is(err, os.ErrClosed) {
		return ErrClosed
	}
	if err != nil {
		return err
	}
	return result
}

func (s *Socket) outcome() (over bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == connecting {
		s.collect()
	}
	switch s.state {
	case established:
		return true, nil
	case closed:
		return true, ErrClosed
	case idle:
		if s.failed != 0 {
			return true, explain(s.failed)
		}
	}
	return false, nil
}

// Conn hands the established connection to Go as a *net.TCPConn with TTL and
// MinTTL back at the kernel's defaults, so that a peer which answers with an
// ordinary TTL is heard. The Socket is used up, whatever is returned.
func (s *Socket) Conn() (net.Conn, error) {
	if over, err := s.outcome(); !over || err != nil {
		return nil, fmt.Errorf("take the connection of %v: not established: %w", s.local, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != established {
		return nil, ErrClosed
	}
	calm := s.options
	calm.TTL, calm.MinTTL = 0, 0
	err := s.apply(calm)
	s.resent += s.retransmissions()
	s.state = closed
	defer s.file.Close()
	if err != nil {
		return nil, fmt.Errorf("take the connection of %v: %w", s.local, err)
	}
	return net.FileConn(s.file)
}

// SYNs counts the connect() calls that sent a SYN, and the retransmissions
// that the kernel added in all attempts: SYNs, or in a crossing SYN-ACKs.
func (s *Socket) SYNs() (called, retransmitted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.called, s.resent + s.retransmissions()
}

// Close closes without lingering: nothing is sent in SYN-SENT, a FIN when
// established. Closing twice, or after Conn, does nothing.
func (s *Socket) Close() error { return s.end(false) }

// Abort closes with a reset where the peer may already hold a connection.
func (s *Socket) Abort() error { return s.end(true) }

func (s *Socket) end(reset bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return nil
	}
	if reset {
		unix.SetsockoptLinger(s.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	s.resent += s.retransmissions()
	s.state = closed
	return s.file.Close()
}

func dial(ctx context.Context, local, remote netip.AddrPort, o Options) (net.Conn, error) {
	s, err := Open(local, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Connect(remote); err != nil {
		return nil, err
	}
	if err := s.Wait(ctx); err != nil {
		return nil, fmt.Errorf("connect %v to %v: %w", s.local, remote, err)
	}
	return s.Conn()
}
