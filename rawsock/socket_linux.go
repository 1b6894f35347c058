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
// still knows a connection between the two endpoints, such as one that a
// listener has accepted, or one in TIME-WAIT without time stamps (with them it
// is taken again at once, tcp_twsk_unique); ErrUnreachable with ENETUNREACH and
// the like.
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
	if errno := s.start(); errno != 0 {
		return fmt.Errorf("connect %v to %v: %w", s.local, remote, explain(errno))
	}
	return nil
}

// start begins an attempt to where the socket is aimed.
func (s *Socket) start() syscall.Errno {
	if errno := s.connect(); errno != 0 && errno != unix.EINPROGRESS {
		s.failed = errno
		return errno
	}
	s.called++
	s.state, s.failed = connecting, 0
	return 0
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
	case unix.ECONNREFUSED:
		return refusal{number: err}
	case unix.ECONNRESET:
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

// Established reports, without waiting, whether the connection stands.
func (s *Socket) Established() bool {
	over, err := s.outcome()
	return over && err == nil
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

// Conn hands the established connection to Go as a *net.TCPConn that hears every
// TTL again. A TTL that passes its own MinTTL stays, because the other end may
// still be as deaf as this one was, and would miss the first data; any other
// goes back to the kernel's default. The Socket is used up, whatever is
// returned.
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
	if calm.TTL < max(calm.MinTTL, 1) || calm.MinTTL == 0 {
		calm.TTL = 0
	}
	calm.MinTTL = 0
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
