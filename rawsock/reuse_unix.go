//go:build unix

package rawsock

import (
	"os"

	"golang.org/x/sys/unix"
)

func reusePort(fd uintptr) error {
	if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("set SO_REUSEADDR", err)
	}
	return os.NewSyscallError("set SO_REUSEPORT", unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}
