//go:build !linux

package rawsock

import "net/netip"

// Sender sends crafted segments. On this system none can be opened.
type Sender struct{}

// OpenSender always fails with errors.ErrUnsupported.
func OpenSender(netip.Addr, Options) (*Sender, error) { return nil, errPlatform }

// Send is not available on this system.
func (*Sender) Send(...Segment) (sent int, err error) { return 0, errPlatform }

// Load is not available on this system.
func (*Sender) Load([]Segment) (*Volley, error) { return nil, errPlatform }

// Close does nothing.
func (*Sender) Close() error { return nil }

type volley struct{}

// Sent is not available on this system.
func (*Volley) Sent() int { return 0 }

// Len is not available on this system.
func (*Volley) Len() int { return 0 }

// Guard keeps the kernel out of a crafted handshake. On this system none can be
// opened.
type Guard struct{}

// OpenGuard always fails with errors.ErrUnsupported.
func OpenGuard(netip.AddrPort) (*Guard, error) { return nil, errPlatform }

// Local is not available on this system.
func (*Guard) Local() netip.AddrPort { return netip.AddrPort{} }

// Close does nothing.
func (*Guard) Close() error { return nil }
