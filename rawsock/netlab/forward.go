package netlab

import "net/netip"

// outcome is what the routers between the ports decide about a packet.
type outcome struct {
	event  Event // Delivered, TTLExceeded, Unreachable or Discarded
	cause  cause // unless delivered
	to     int   // port that gets the packet or the answer; -1 for none
	answer []byte
	router netip.Addr // that sends the answer
}

// forward takes a packet over the hops, changing its TTL. An answer is written
// into scratch.
func (c *Core) forward(p []byte, h header, from int, scratch []byte) outcome {
	if !h.routable() {
		return outcome{event: Discarded, cause: causeNotUnicast, to: -1}
	}
	to, hops := c.routes.find(h.dst), c.config.Hops
	switch {
	case hops == 0:
		return wire(from, to)
	case to < 0:
		router := accessRouter(from, h.v6)
		answer := icmpError(scratch, p, h, noRoute, router)
		return reply(Unreachable, causeUnreachable, from, answer, router, 1)
	case int(h.ttl) <= hops:
		hop := max(int(h.ttl), 1)
		setTTL(p, 1) // as the hop received it
		router := c.hopAddress(from, to, hop, h.v6)
		answer := icmpError(scratch, p, h, timeExceeded, router)
		return reply(TTLExceeded, causeTTL, from, answer, router, hop)
	}
	setTTL(p, h.ttl-uint8(hops))
	return outcome{event: Delivered, to: to}
}

// wire joins the ports without a router; nothing comes back to where it was sent.
func wire(from, to int) outcome {
	if to < 0 || to == from {
		return outcome{event: Unreachable, cause: causeUnreachable, to: -1}
	}
	return outcome{event: Delivered, to: to}
}

// reply sends an answer back over the hops before the one that made it.
func reply(e Event, c cause, to int, answer []byte, router netip.Addr, hop int) outcome {
	if answer == nil {
		return outcome{event: e, cause: c, to: -1}
	}
	setTTL(answer, errorTTL-uint8(min(hop-1, errorTTL-1)))
	return outcome{event: e, cause: c, to: to, answer: answer, router: router}
}

// hopAddress is the address of the hop'th router, from 1, on the way between
// two ports: the access router of either, and the same backbone both ways.
func (c *Core) hopAddress(from, to, hop int, v6 bool) netip.Addr {
	last := c.config.Hops
	switch {
	case hop == 1:
		return accessRouter(from, v6)
	case hop == last:
		return accessRouter(to, v6)
	case from <= to:
		return routerAddress(0, hop-1, v6)
	}
	return routerAddress(0, last-hop, v6)
}

func accessRouter(port int, v6 bool) netip.Addr {
	return routerAddress(1+port/250, 1+port%250, v6)
}

func routerAddress(group, number int, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 3: 0x02, 13: byte(group), 15: byte(number)})
	}
	return netip.AddrFrom4([4]byte{198, 18, byte(group), byte(number)})
}
