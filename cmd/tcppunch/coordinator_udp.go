package main

import (
	"context"
	"net/netip"
	"sync"

	"tcppunch/cmd/internal/rendezvous"
)

// serveDatagrams answers STUN over UDP too, at the ports where it is answered
// over TCP. Only experiments need that, so where such a port is taken, the
// coordinator says so and goes on without it.
func serveDatagrams(ctx context.Context, all *sync.WaitGroup, server *rendezvous.Coordinator, s streams, stun, alternate netip.AddrPort) {
	for _, at := range [][2]netip.AddrPort{{stun, alternate}, {alternate, stun}} {
		conns, err := rendezvous.ListenDatagrams(ctx, at[0])
		if err != nil {
			s.say("STUN is not answered over UDP at %s: %v", at[0], err)
		}
		for _, conn := range conns {
			all.Go(func() { server.ServeSTUNDatagrams(ctx, conn, specified(at[1])) })
		}
	}
}
