package rendezvous

import (
	"context"
	"net"
	"net/netip"

	"tcppunch/predict/probe"
)

// STUN connections are short, and each of a peer's probes is one: more of them
// are allowed from one network than sessions.
const (
	maxSTUN           = 8_192
	maxSTUNPerNetwork = 2_048
)

// ServeSTUN answers STUN Binding requests over TCP (RFC 8489) until ctx ends.
// other is told to clients as OTHER-ADDRESS (RFC 5780) where it is valid.
func (c *Coordinator) ServeSTUN(ctx context.Context, listener net.Listener, other netip.AddrPort) error {
	return serve(ctx, listener, newGate(maxSTUN, maxSTUNPerNetwork), func(_ context.Context, conn net.Conn) {
		probe.Respond(conn, other, c.Observed)
	})
}
