package rawsock

import (
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A processor that has slept and then spun for 2 ms has none of the kernel's
// TCP in its caches, and the first SYN takes tens of microseconds instead of
// two. So a launch is rehearsed during its spin.
const (
	rehearseFrom = 300 * time.Microsecond // before the instant
	rehearseTo   = 40 * time.Microsecond  // a rehearsal takes 5 µs, or 30 µs when cold
)

// rehearsal is two sockets of this thread on the loopback, of which one refuses
// what the other sends, since it is bound but does not listen; and one that
// only looks up the route of the launch. No packet leaves the host, and nobody
// else can have that port.
type rehearsal struct {
	caller  Socket // without what Wait and Close need
	shot    aimed  // of the caller at the refuser, or a volley that nobody answers
	fired   Fired
	list    []aimed // the launch, of which the last cold ones are still to be touched
	cold    int
	refuser int // descriptor
	router  int // descriptor, of UDP, whose connect() sends nothing
	ready   bool
	remote  sockaddr // of the launch
	info    unix.TCPInfo
	length  uint32
	took    [3]int64 // nanoseconds of the latest plays, the first and coldest left out
	plays   int
}

// open sets the stage for a launch whose shots are aimed. Where it cannot, as
// without a loopback, there is no rehearsal, which costs nothing but the time
// it would have saved.
func (r *rehearsal) open(list []aimed) {
	if len(list) == 0 {
		return
	}
	r.shot.socket = &r.caller
	r.list, r.cold = list, len(list)
	r.remote = list[0].to
	loopback := netip.IPv6Loopback()
	if list[0].is4() {
		loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	r.caller, r.refuser, r.router = Socket{fd: -1}, -1, -1
	r.shot.volley, r.plays = nil, 0
	r.ready = r.cast(netip.AddrPortFrom(loopback, 0)) == nil
	if !r.ready {
		r.dismiss()
	}
}

// cast makes the sockets.
func (r *rehearsal) cast(loopback netip.AddrPort) (err error) {
	if r.caller.fd, err = newSocket(loopback); err != nil {
		return err
	}
	if r.refuser, err = newSocket(loopback); err != nil {
		return err
	}
	if err := r.shot.to.set(loopback); err != nil {
		return err
	}
	if err := bind(r.refuser, &r.shot.to); err != nil {
		return err
	}
	port, err := unix.Getsockname(r.refuser)
	if err != nil {
		return err
	}
	if err := r.shot.to.set(netip.AddrPortFrom(loopback.Addr(), portOf(port))); err != nil {
		return err
	}
	if r.router, err = newRouter(loopback.Addr()); err != nil {
		return err
	}
	if r.list[0].volley != nil {
		r.shot.volley, err = blankVolley(netip.AddrPortFrom(loopback.Addr(), portOf(port)))
	}
	return err
}

// blankVolley is a reset of a connection that does not exist, to a port of this
// host that does not listen: it ends there without a word (RFC 9293 section
// 3.10.7.1).
func blankVolley(loopback netip.AddrPort) (*Volley, error) {
	s, err := OpenSender(loopback.Addr(), Options{})
	if err != nil {
		return nil, err
	}
	v, err := s.Load([]Segment{{From: loopback, To: loopback, Flags: RST}})
	if err != nil {
		s.Close()
	}
	return v, err
}

func (r *rehearsal) close() {
	if r.ready {
		r.dismiss()
	}
	r.ready, r.list = false, nil
}

func (r *rehearsal) dismiss() {
	for _, fd := range []int{r.caller.fd, r.refuser, r.router} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if r.shot.volley != nil {
		r.shot.volley.sender.Close()
	}
}

// play looks up the route and the neighbour, touches the first socket of the
// launch by whatever reads it, and connects once, which is refused at once. The
// next time begins by collecting the refusal. A volley is rehearsed by another.
func (r *rehearsal) play() {
	if !r.ready {
		return
	}
	first := &r.list[0]
	r.remote = first.to
	lookUp(r.router, &r.remote)
	unix.RawSyscall6(unix.SYS_SENDTO, uintptr(r.router), 0, 0, unix.MSG_CONFIRM|msgProbe, 0, 0)
	if first.volley != nil {
		first.volley.probe()
	} else {
		first.socket.touch()
		r.length = uint32(unsafe.Sizeof(r.info))
		unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(first.socket.fd), unix.IPPROTO_TCP, unix.TCP_INFO,
			uintptr(unsafe.Pointer(&r.info)), uintptr(unsafe.Pointer(&r.length)), 0)
	}
	r.shot.shoot(&r.fired, monotonic())
	if r.fired.Err == nil && r.shot.errno == 0 {
		if r.plays > 0 {
			r.took[(r.plays-1)%len(r.took)] = r.fired.After - r.fired.Before
		}
		r.plays++
	}
}

// passage is how long a SYN takes from the call of connect() to the wire, in
// nanoseconds: about as long as a rehearsed one takes to the loopback, where it
// is refused, and back (measured with a tap: 10 µs where the rehearsal takes
// 6.5). It is the median of the latest three, 0 before there are so many, and
// never so long that a disturbed rehearsal makes a SYN early.
func (r *rehearsal) passage() int64 {
	if !r.ready || r.plays <= len(r.took) {
		return 0
	}
	a, b, c := r.took[0], r.took[1], r.took[2]
	return min(max(min(a, b), min(max(a, b), c)), longestPassage)
}

const longestPassage = 15_000

// warm touches one more of the sockets, the first ones last.
func (r *rehearsal) warm() {
	if r.ready && r.cold > 0 {
		r.cold--
		r.list[r.cold].touch()
	}
}

// is4 tells the family of the shot.
func (a *aimed) is4() bool { return a.to.len == unix.SizeofSockaddrInet4 }

func (a *aimed) touch() {
	if a.socket != nil {
		a.socket.touch()
	}
}

// touch brings what the kernel knows of an idle socket into the processor's
// caches: by a connect() to all hosts, which TCP refuses with ENETUNREACH after
// it has looked for a route, and before it has changed anything
// (tcp_v4_connect, tcp_v6_connect).
func (s *Socket) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != idle {
		return
	}
	to := &everyone4
	if s.local.Addr().Is6() {
		to = &everyone6
	}
	unix.RawSyscall(unix.SYS_CONNECT, uintptr(s.fd), uintptr(unsafe.Pointer(&to.bytes)), uintptr(to.len))
}

var everyone4, everyone6 = everyone("255.255.255.255"), everyone("ff02::1")

func everyone(addr string) (s sockaddr) {
	s.set(netip.AddrPortFrom(netip.MustParseAddr(addr), 9))
	return s
}

// msgProbe is MSG_PROBE of <linux/socket.h>: with no data nothing is sent.
const msgProbe = 0x10
