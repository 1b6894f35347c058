//go:build !linux

package rawsock

import (
	"context"
	"net/netip"
)

// Ear is a silent local port. On this system none can be made.
type Ear struct{}

// OpenEar always fails with errors.ErrUnsupported.
func OpenEar(netip.AddrPort) (*Ear, error) { return nil, errPlatform }

// Local is not available on this system.
func (*Ear) Local() netip.AddrPort { return netip.AddrPort{} }

// Heard is not available on this system.
func (*Ear) Heard(context.Context) (netip.AddrPort, error) { return netip.AddrPort{}, errPlatform }

// Refuse is not available on this system.
func (*Ear) Refuse() error { return errPlatform }

// Close does nothing.
func (*Ear) Close() error { return nil }
