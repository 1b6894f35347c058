package rendezvous

import (
	"net/netip"
	"sync"
)

// gate bounds the connections held at one time, in all and for each network: a
// /32 in IPv4, a /56 and a /48 in IPv6 (the /48 may hold four times as many).
type gate struct {
	mu     sync.Mutex
	held   map[netip.Prefix]int
	all    int
	most   int
	perNet int
}

func newGate(most, perNetwork int) *gate {
	return &gate{held: map[netip.Prefix]int{}, most: most, perNet: perNetwork}
}

func networksOf(addr netip.Addr) []netip.Prefix {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return []netip.Prefix{netip.PrefixFrom(addr, 32)}
	}
	site, _ := addr.Prefix(56)
	wide, _ := addr.Prefix(48)
	return []netip.Prefix{site, wide}
}

func (g *gate) limit(p netip.Prefix) int {
	if p.Bits() == 48 {
		return 4 * g.perNet
	}
	return g.perNet
}

func (g *gate) enter(addr netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= g.most {
		return false
	}
	for _, n := range networksOf(addr) {
		if g.held[n] >= g.limit(n) {
			return false
		}
	}
	g.all++
	for _, n := range networksOf(addr) {
		g.held[n]++
	}
	return true
}

func (g *gate) leave(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	for _, n := range networksOf(addr) {
		if g.held[n]--; g.held[n] == 0 {
			delete(g.held, n)
		}
	}
}
