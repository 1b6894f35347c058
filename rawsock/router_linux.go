package rawsock

import (
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newRouter makes a UDP socket, by which the kernel can be asked for routes.
func newRouter(like netip.Addr) (fd int, err error) {
	family := unix.AF_INET6
	if like.Is4() {
		family = unix.AF_INET
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return fd, os.NewSyscallError("socket", err)
}

// lookUp connects a router, which looks up the route and sends nothing.
func lookUp(router int, to *sockaddr) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(router), uintptr(unsafe.Pointer(&to.bytes)), uintptr(to.len))
	return errno
}
