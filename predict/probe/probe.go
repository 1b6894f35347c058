// Package probe measures a NAT from inside: it asks STUN servers over TCP
// (RFC 8489) where a connection from a chosen local port appears to come
// from, lets a partner outside dial back, and answers STUN for others.
//
// Run is the whole measurement and makes a Report; dialback.go says what it
// needs of sockets and of a partner, run.go in which order it works, and each
// test has a file of its own. Observe is the STUN client alone, StartIncoming
// the tests by dial-back alone, Responder and Respond the server, ReadMessage
// the framing that both share.
// The sockets are the caller's, since binding one local port to several
// connections is a matter of socket options. Read package predict next, which
// interprets the observations.
//
// Hazards: an observation keeps its connection open, because that holds the
// mapping; the caller closes it. There is no retransmission over TCP
// (RFC 8489 section 6.2.2), so the context bounds the wait. Nothing here is
// authenticated: a reflexive address is a server's claim. What was not measured
// is null in a report, never false.
package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"tcppunch/predict"
)

// Dialer opens a TCP connection from exactly local (port 0: any) to remote.
type Dialer interface {
	Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error)
}

// Held is an observation together with the open connection that keeps its
// mapping alive. The holder closes Conn.
type Held struct {
	predict.Observation
	Other netip.AddrPort // OTHER-ADDRESS of RFC 5780; not valid when the server named none
	Plain netip.AddrPort // MAPPED-ADDRESS, which a gateway on the path may have rewritten; not valid without one
	Conn  net.Conn       `json:"-"`
}

// ServerError says which server could not be observed, and why.
type ServerError struct {
	Server netip.AddrPort
	Err    error
}

func (e *ServerError) Error() string { return fmt.Sprintf("observe via %v: %v", e.Server, e.Err) }
func (e *ServerError) Unwrap() error { return e.Err }

// PerServer bounds the wait for one server: three attempts of a
// SYN that is retransmitted each second.
const PerServer = 3 * time.Second
