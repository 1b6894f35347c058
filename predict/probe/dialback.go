package probe

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Network is the socket layer of a whole probe. All sockets of one local port
// share it, the listener too.
type Network interface {
	Dialer
	// Start lets one SYN leave from local (port 0: any) and returns once it has.
	Start(local, remote netip.AddrPort) (Attempt, error)
	// Listen accepts connections at local (port 0: any).
	Listen(ctx context.Context, local netip.AddrPort) (net.Listener, error)
}

// Attempt is one active open. Wait blocks until the connection stands (nil),
// its error wraps the system's error number, or ctx ends. Close in SYN-SENT
// sends nothing.
type Attempt interface {
	Local() netip.AddrPort
	Wait(ctx context.Context) error
	Close() error
}

// DialBack is a partner on the other side of the NAT: it connects to mappings
// of this host and says what its SYN met. It need not be able to do all; what
// it cannot do it answers with an error.
type DialBack interface {
	// Host is the address at which this side reaches the partner's doors.
	Host() netip.Addr
	// Open makes a fresh port of the partner's first address.
	Open(ctx context.Context) (Door, error)
	// DialElsewhere connects to a mapping from another address of the partner.
	DialElsewhere(ctx context.Context, to netip.AddrPort, wait time.Duration) (Reached, error)
}

// Door is a port of the partner. What comes to it meets silence.
type Door interface {
	Port() uint16
	// Watch waits up to a second for a SYN from this host's outside address,
	// and says from where it came. Not every partner may see packets.
	Watch(ctx context.Context) (netip.AddrPort, error)
	// Refuse makes the port answer SYNs with a reset.
	Refuse(ctx context.Context) error
	// Dial connects from the door to a mapping.
	Dial(ctx context.Context, to netip.AddrPort, wait time.Duration) (Reached, error)
}

// Answer is what a SYN met.
type Answer string

// The answers.
const (
	AnswerUnknown Answer = ""
	Connected     Answer = "connected"   // a SYN-ACK
	Refused       Answer = "reset"       // a RST
	Unreachable   Answer = "unreachable" // an ICMP error
	Silent        Answer = "silent"      // nothing, as long as was waited
)

// Reached is what a dial-back met.
type Reached struct {
	Port   uint16        `json:"port"`          // the partner's, from which it dialled
	Answer Answer        `json:"answer"`        //
	After  time.Duration `json:"after_ns"`      // from the SYN to the answer
	ICMP   uint8         `json:"icmp,omitzero"` // Unreachable: type of the ICMP error
	Code   uint8         `json:"code,omitzero"` // and its code
}
