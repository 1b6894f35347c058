package rawsock

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Dial opens one connection from local to remote and blocks until it stands,
// fails for one of this package's reasons, or ctx ends. Several Dials may run
// from one local port at once, to different remotes. An invalid local address
// stands for any; local port 0 for one that the kernel chooses.
//
// Outside Linux no option but the zero value is supported.
func Dial(ctx context.Context, local, remote netip.AddrPort, o Options) (net.Conn, error) {
	if !remote.IsValid() || remote.Port() == 0 {
		return nil, fmt.Errorf("dial %v: the remote end is no address with a port", remote)
	}
	if !local.Addr().IsValid() {
		local = netip.AddrPortFrom(unspecified(remote.Addr()), local.Port())
	}
	return dial(ctx, unmap(local), unmap(remote), o)
}

// unspecified is the address that binds to any of the family of addr.
func unspecified(addr netip.Addr) netip.Addr {
	if addr.Unmap().Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
