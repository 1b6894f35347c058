package probe

import (
	"context"
	"errors"
	"net/netip"
)

// Observe asks server, from local, where local appears to be.
func Observe(ctx context.Context, d Dialer, local, server netip.AddrPort, username string) (Held, error) {
	return Held{}, &ServerError{server, errors.ErrUnsupported}
}

// ObserveAll observes local at every server.
func ObserveAll(ctx context.Context, d Dialer, local netip.AddrPort, servers []netip.AddrPort, username string) ([]Held, error) {
	return nil, errors.ErrUnsupported
}
