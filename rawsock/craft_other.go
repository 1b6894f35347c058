//go:build !linux

package rawsock

import (
	"context"
	"net"
	"net/netip"
)

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

// Crafted is one end of a connection whose handshake is crafted. On this system
// none can be opened.
type Crafted struct{}

// OpenCrafted always fails with errors.ErrUnsupported.
func OpenCrafted(CraftedConfig) (*Crafted, error) { return nil, errPlatform }

// Local is not available on this system.
func (*Crafted) Local() netip.AddrPort { return netip.AddrPort{} }

// ISN is not available on this system.
func (*Crafted) ISN() uint32 { return 0 }

// SYN is not available on this system.
func (*Crafted) SYN() Segment { return Segment{} }

// Shot is not available on this system.
func (*Crafted) Shot() Shot { return Shot{} }

// SendSYN is not available on this system.
func (*Crafted) SendSYN() error { return errPlatform }

// Wait is not available on this system.
func (*Crafted) Wait(context.Context) (net.Conn, error) { return nil, errPlatform }

// Close does nothing.
func (*Crafted) Close() error { return nil }

// Adopt always fails with errors.ErrUnsupported.
func Adopt(own, peer Segment, o Options) (net.Conn, error) { return nil, errPlatform }

// PresetISN is not available on this system.
func (*Socket) PresetISN(uint32) error { return errPlatform }
