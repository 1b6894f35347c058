package rawsock

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Listen accepts connections at local (port 0: the kernel chooses) until the
// listener is closed. It shares the port with the Sockets and connections of
// this package; what comes from a remote end to which one of these is connected
// or connecting goes to that one.
func Listen(ctx context.Context, local netip.AddrPort) (net.Listener, error) {
	config := net.ListenConfig{Control: sharePort}
	l, err := config.Listen(ctx, "tcp", unmap(local).String())
	if err != nil {
		return nil, fmt.Errorf("listen at %v: %w", local, err)
	}
	return l, nil
}

// sharePort lets a socket of package net share its port, before it is bound.
func sharePort(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = reusePort(fd) }); err != nil {
		return err
	}
	return failed
}
