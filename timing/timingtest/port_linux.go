package timingtest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const errRefused = unix.ECONNREFUSED

// stampedPort has the kernel note when a message arrived, so that the time a
// goroutine takes to wake does not count.
type stampedPort struct{ conn *net.UDPConn }

// newStampedPort returns nil where the kernel does not stamp.
func newStampedPort(conn *net.UDPConn) port {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	failed := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	})
	if failed != nil || err != nil {
		return nil
	}
	return stampedPort{conn}
}

func (p stampedPort) now() time.Time { return time.Now().Round(0) }

func (p stampedPort) read(b []byte) (int, netip.AddrPort, time.Time, error) {
	var oob [64]byte
	n, oobn, _, from, err := p.conn.ReadMsgUDPAddrPort(b, oob[:])
	at := p.now()
	if err != nil {
		return n, from, at, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, from, at, nil
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS {
			at = timespec(m.Data, at)
		}
	}
	return n, from, at, nil
}

// timespec reads a struct timespec of the kernel's word size.
func timespec(b []byte, otherwise time.Time) time.Time {
	switch len(b) {
	case 8:
		return time.Unix(int64(int32(binary.NativeEndian.Uint32(b))), int64(binary.NativeEndian.Uint32(b[4:])))
	case 16:
		return time.Unix(int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:])))
	}
	return otherwise
}

func (p stampedPort) write(b []byte, to netip.AddrPort) { p.conn.WriteToUDPAddrPort(b, to) }
