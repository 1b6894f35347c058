package rawsock

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

func TestMain(m *testing.M) { netlabtest.Main(m) }

// in is the value that f makes inside a namespace.
func in[T any](t testing.TB, n *netlab.Namespace, f func() (T, error)) T {
	t.Helper()
	var value T
	err := n.Do(func() (err error) {
		value, err = f()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func openIn(t testing.TB, n *netlab.Namespace, local netip.AddrPort, o Options) *Socket {
	t.Helper()
	s := in(t, n, func() (*Socket, error) { return Open(local, o) })
	t.Cleanup(func() { s.Close() })
	return s
}

func tapIn(t testing.TB, n *netlab.Namespace, c TapConfig) *Tap {
	t.Helper()
	tap := in(t, n, func() (*Tap, error) { return OpenTap(c) })
	t.Cleanup(func() { tap.Close() })
	return tap
}

func listenIn(t testing.TB, n *netlab.Namespace, local netip.AddrPort) *acceptor {
	t.Helper()
	fd := in(t, n, func() (int, error) { return listenPlain(local) })
	t.Cleanup(func() { unix.Close(fd) })
	return &acceptor{fd}
}

// acceptor is a listener without SO_REUSEPORT, as a foreign program has one.
type acceptor struct{ fd int }

func listenPlain(local netip.AddrPort) (int, error) {
	fd, err := newSocket(local)
	if err != nil {
		return -1, err
	}
	var a sockaddr
	a.set(local)
	if err := bind(fd, &a); err != nil {
		return -1, err
	}
	return fd, unix.Listen(fd, 8)
}

func mustConnect(t testing.TB, s *Socket, remote netip.AddrPort) {
	t.Helper()
	if err := s.Connect(remote); err != nil {
		t.Fatal(err)
	}
}

// soon bounds a wait that succeeds at once unless the kernel or we are wrong.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// segment is what the tests look at of a TCP segment on Ethernet.
type segment struct {
	source, destination netip.AddrPort
	flags, hops         byte
}

const (
	syn    = 0x02
	rst    = 0x04
	ack    = 0x10
	synAck = syn | ack
)

func parseSegment(f Frame) (s segment, ok bool) {
	if len(f.Data) < 14+40 {
		return s, false
	}
	ip := f.Data[14:]
	if ip[0]>>4 == 4 && ip[9] == unix.IPPROTO_TCP {
		return tcpOf(ip[20:], netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20])), ip[8]), true
	}
	if ip[0]>>4 == 6 && ip[6] == unix.IPPROTO_TCP && len(ip) >= 60 {
		return tcpOf(ip[40:], netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40])), ip[7]), true
	}
	return s, false
}

func tcpOf(tcp []byte, source, destination netip.Addr, hops byte) segment {
	port := func(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }
	return segment{netip.AddrPortFrom(source, port(tcp)), netip.AddrPortFrom(destination, port(tcp[2:])), tcp[13], hops}
}

// await reads the tap until a segment satisfies want.
func await(t testing.TB, tap *Tap, what string, want func(segment) bool) (found segment) {
	t.Helper()
	awaitFrame(t, tap, what, func(f Frame) (ok bool) {
		found, ok = parseSegment(f)
		return ok && want(found)
	})
	return found
}

// awaitFrame reads the tap until a frame satisfies want.
func awaitFrame(t testing.TB, tap *Tap, what string, want func(Frame) bool) {
	t.Helper()
	defer context.AfterFunc(soon(t), tap.Stop)()
	for {
		f, err := tap.Next()
		if err != nil {
			t.Fatalf("wait for %s at the tap: %v", what, err)
		}
		if want(f) {
			return
		}
	}
}

// withoutCapabilities runs f in a namespace on a thread that has no capabilities meanwhile.
func withoutCapabilities(n *netlab.Namespace, f func() error) error {
	return lesser(n, [2]uint32{1<<32 - 1, 1<<32 - 1}, f)
}

// withoutCapability takes one away, by its number below 32.
func withoutCapability(n *netlab.Namespace, number int, f func() error) error {
	return lesser(n, [2]uint32{1 << number}, f)
}

func lesser(n *netlab.Namespace, without [2]uint32, f func() error) error {
	return n.Do(func() error {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var before [2]unix.CapUserData
		if err := unix.Capget(&header, &before[0]); err != nil {
			return err
		}
		lesser := before
		for i := range lesser {
			lesser[i].Effective &^= without[i]
		}
		if err := unix.Capset(&header, &lesser[0]); err != nil {
			return err
		}
		defer unix.Capset(&header, &before[0])
		return f()
	})
}
