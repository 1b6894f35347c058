//go:build !linux

package rawsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
)

// Socket is one prepared active open from a fixed local port. On this system
// none can be made.
type Socket struct{}

var errPlatform = fmt.Errorf("%w on %s", errors.ErrUnsupported, runtime.GOOS)

// Open always fails with errors.ErrUnsupported.
func Open(netip.AddrPort, Options) (*Socket, error) { return nil, errPlatform }

// Local is not available on this system.
func (*Socket) Local() netip.AddrPort { return netip.AddrPort{} }

// Connect is not available on this system.
func (*Socket) Connect(netip.AddrPort) error { return errPlatform }

// Wait is not available on this system.
func (*Socket) Wait(context.Context) error { return errPlatform }

// Established is always false.
func (*Socket) Established() bool { return false }

// Conn is not available on this system.
func (*Socket) Conn() (net.Conn, error) { return nil, errPlatform }

// SYNs is not available on this system.
func (*Socket) SYNs() (called, retransmitted int) { return 0, 0 }

// Set is not available on this system.
func (*Socket) Set(Options) error { return errPlatform }

// Close does nothing.
func (*Socket) Close() error { return nil }

// Abort does nothing.
func (*Socket) Abort() error { return nil }

// HiddenResets is not available on this system.
func HiddenResets() (uint64, error) { return 0, errPlatform }

// dial leaves the work to Go's own dialer.
func dial(ctx context.Context, local, remote netip.AddrPort, o Options) (net.Conn, error) {
	if o != (Options{}) {
		return nil, fmt.Errorf("dial with socket options: %w", errPlatform)
	}
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local), Control: sharePort}
	return d.DialContext(ctx, "tcp", remote.String())
}
