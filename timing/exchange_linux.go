package timing

import (
	"encoding/binary"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// stampArrivals makes the kernel note when datagrams arrive. Without it, which
// is not worth an error, they are timed when they are read.
func stampArrivals(conn *net.UDPConn) {
	if raw, err := conn.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) {
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		})
	}
}

// readStamped reads a datagram and when it arrived by CLOCK_REALTIME, zero if
// the kernel did not say.
func readStamped(conn *net.UDPConn, b []byte) (int, time.Time, error) {
	var oob [64]byte
	n, oobn, _, _, err := conn.ReadMsgUDPAddrPort(b, oob[:])
	if err != nil {
		return n, time.Time{}, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return n, time.Time{}, nil
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS {
			return n, timespec(m.Data), nil
		}
	}
	return n, time.Time{}, nil
}

// timespec reads a struct timespec of the kernel's word size.
func timespec(b []byte) time.Time {
	switch len(b) {
	case 8:
		return time.Unix(int64(int32(binary.NativeEndian.Uint32(b))), int64(binary.NativeEndian.Uint32(b[4:])))
	case 16:
		return time.Unix(int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:])))
	}
	return time.Time{}
}
