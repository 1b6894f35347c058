package rawsock

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sender sends crafted segments of one address family through a raw socket,
// which the kernel routes by their destinations and otherwise leaves as they
// are, except that it replaces an IPv4 ID of 0 (raw(7)). Where the kernel has no
// socket for what comes back it answers with a reset; see [Guard].
type Sender struct {
	local netip.Addr
	mu    sync.Mutex // guards the descriptor's life
	fd    int
}

// OpenSender opens a raw socket that is bound to an address of this host, and
// applies Device and Mark of o. What a segment gives as its source is not
// compared with local. Errors: a PrivilegeError without CAP_NET_RAW, and
// EADDRNOTAVAIL where local is not one host's address, or not this one's.
func OpenSender(local netip.Addr, o Options) (*Sender, error) {
	local = local.Unmap()
	family := unix.AF_INET6
	if local.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open sender: %w", privilege(os.NewSyscallError("socket", err), capNetRaw))
	}
	s := &Sender{local: local, fd: fd}
	if err := s.prepare(o); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open sender %v: %w", local, err)
	}
	return s, nil
}

// blocksFor bounds how long a volley waits for room in the socket's buffer: 1 s.
var blocksFor = unix.Timeval{Sec: 1}

func (s *Sender) prepare(o Options) error {
	if s.local.Is6() {
		if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_HDRINCL, 1); err != nil {
			return os.NewSyscallError("set IPV6_HDRINCL", err)
		}
	}
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &blocksFor); err != nil {
		return os.NewSyscallError("set SO_SNDTIMEO", err)
	}
	if o.Device != "" {
		if err := bindToDevice(s.fd, o.Device); err != nil {
			return err
		}
	}
	if o.Mark != 0 {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_MARK, o.Mark); err != nil {
			return os.NewSyscallError("set SO_MARK", err)
		}
	}
	var bound sockaddr
	if err := bound.set(netip.AddrPortFrom(s.local, 0)); err != nil {
		return err
	}
	if err := s.checkOwn(&bound, o.Device); err != nil {
		return err
	}
	return bind(s.fd, &bound)
}

// checkOwn refuses what bind() would let pass, though it is no address of this
// host's own: none at all, groups, and broadcasts. From these there is no route.
func (s *Sender) checkOwn(bound *sockaddr, device string) error {
	foreign := os.NewSyscallError("bind", unix.EADDRNOTAVAIL)
	if s.local.IsUnspecified() || s.local.IsMulticast() {
		return foreign
	}
	router, err := newRouter(s.local)
	if err != nil {
		return err
	}
	defer unix.Close(router)
	if device != "" {
		if err := bindToDevice(router, device); err != nil {
			return err
		}
	}
	if err := bind(router, bound); err != nil {
		return err
	}
	if lookUp(router, bound) != 0 {
		return foreign
	}
	return nil
}

// Send sends the segments in their order, now, and returns how many left.
func (s *Sender) Send(list ...Segment) (sent int, err error) {
	v, err := s.Load(list)
	if err != nil {
		return 0, err
	}
	errno := v.fire()
	return v.Sent(), v.explain(errno)
}

// Close ends the socket; a volley of it fails from then on.
func (s *Sender) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd < 0 {
		return nil
	}
	err := unix.Close(s.fd)
	s.fd = -1
	return err
}

// volley is what sendmmsg(2) reads: a header for each segment, which points to
// its bytes and its destination.
type volley struct {
	sender   *Sender
	messages []message
	vectors  []unix.Iovec
	names    []sockaddr
	bytes    []byte
	sent     int
}

// message is struct mmsghdr.
type message struct {
	header unix.Msghdr
	length uint32
}

// Load lays segments out for sending. Their addresses must be of the Sender's
// family.
func (s *Sender) Load(list []Segment) (*Volley, error) {
	v := &Volley{volley: volley{sender: s, messages: make([]message, len(list)), vectors: make([]unix.Iovec, len(list)), names: make([]sockaddr, len(list))}}
	ends := make([]int, len(list))
	for i, segment := range list {
		if segment.To.Addr().Unmap().Is4() != s.local.Is4() {
			return nil, fmt.Errorf("load %v to %v: not of the family of %v", segment.From, segment.To, s.local)
		}
		// The port of a raw socket's destination is its protocol, or 0 (raw(7)).
		if err := v.names[i].set(netip.AddrPortFrom(segment.To.Addr(), 0)); err != nil {
			return nil, fmt.Errorf("load %v to %v: %w", segment.From, segment.To, err)
		}
		var err error
		if v.bytes, err = segment.AppendBinary(v.bytes); err != nil {
			return nil, err
		}
		ends[i] = len(v.bytes)
	}
	v.point(ends)
	return v, nil
}

// first is the destination of the first segment, for the route of a launch.
func (v *volley) first() (to sockaddr) {
	if len(v.names) > 0 {
		to = v.names[0]
	}
	return to
}

// point makes the headers once the bytes have their final place.
func (v *volley) point(ends []int) {
	start := 0
	for i, end := range ends {
		v.vectors[i].Base = &v.bytes[start]
		v.vectors[i].SetLen(end - start)
		h := &v.messages[i].header
		h.Name, h.Namelen = &v.names[i].bytes[0], v.names[i].len
		h.Iov = &v.vectors[i]
		h.SetIovlen(1)
		start = end
	}
}

// Sent is how many segments left when the volley was fired last.
func (v *Volley) Sent() int { return v.sent }

// Len is the number of segments.
func (v *Volley) Len() int { return len(v.messages) }

// fire makes the system calls. The runtime does not hear of them, and nothing
// is allocated.
func (v *volley) fire() syscall.Errno {
	v.sent = 0
	v.sender.mu.Lock()
	defer v.sender.mu.Unlock()
	if v.sender.fd < 0 {
		return unix.EBADF
	}
	for rest := v.messages; len(rest) > 0; rest = v.messages[v.sent:] {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(v.sender.fd), uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)), 0, 0, 0)
		if errno != 0 && errno != unix.EINTR {
			return errno
		}
		if errno == 0 {
			v.sent += int(n)
		}
	}
	return 0
}

// probe has the kernel look up the route of the first segment and stop there
// (MSG_PROBE), which brings all that it needs for that into the processor's
// caches. Nothing is sent.
func (v *volley) probe() {
	if len(v.messages) == 0 {
		return
	}
	v.sender.mu.Lock()
	defer v.sender.mu.Unlock()
	unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(v.sender.fd), uintptr(unsafe.Pointer(&v.messages[0])), 1, unix.MSG_CONFIRM|msgProbe, 0, 0)
}

func (v *Volley) explain(errno syscall.Errno) error {
	err := os.NewSyscallError("sendmmsg", errno)
	switch errno {
	case 0:
		return nil
	case unix.EBADF:
		return ErrClosed
	case unix.EPERM:
		err = fmt.Errorf("this host's firewall drops it: %w", err)
	case unix.EACCES:
		err = fmt.Errorf("that is a broadcast address: %w", err)
	case unix.ENETUNREACH, unix.EHOSTUNREACH:
		err = fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return fmt.Errorf("send crafted segment %d of %d: %w", v.sent+1, len(v.messages), err)
}
