package rawsock

import (
	"os"
	"syscall"
)

func reusePort(fd uintptr) error {
	return os.NewSyscallError("set SO_REUSEADDR", syscall.SetsockoptInt(syscall.Handle(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1))
}
