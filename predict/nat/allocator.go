package nat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Allocator chooses external endpoints as the Ports, Pooling, Overload and
// Churn of a Config say. It knows nothing of mappings and filters, so that
// simulations can use it alone: a Take costs some 50 ns, however many ports are
// taken.
type Allocator struct {
	config Config
	rand   *rand.Rand
	// The ports that are taken, by external address; with Overload, those that
	// are taken towards one destination.
	used        []portSet
	towards     map[place]*portSet
	subscribers map[netip.Addr]*subscriber
	next        uint16         // Sequential: where the search for a port starts
	blocks      map[block]bool // Block: those that somebody has
	foreign     foreign
}

// A place is the port space of an external address towards one destination.
type place struct {
	external int // index in Config.External
	to       netip.AddrPort
}

// A block is a run of ports that belongs to one subscriber.
type block struct {
	external int // index in Config.External
	first    uint16
}

// A subscriber is what the allocator remembers of an inside address.
type subscriber struct {
	external int     // Paired: index in Config.External
	band     uint16  // Band: its first port; 0 before it is drawn
	blocks   []block // Block: the one in use is the last
}

// NewAllocator checks the configuration.
func NewAllocator(c Config) (*Allocator, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("nat allocator: %w", err)
	}
	if c.Firewall {
		return nil, errors.New("nat allocator: a firewall has no ports of its own")
	}
	return newAllocator(c), nil
}

// newAllocator takes a complete configuration.
func newAllocator(c Config) *Allocator {
	a := &Allocator{
		config:      c,
		rand:        rand.New(rand.NewPCG(c.Seed, c.Seed^0x6e6174)),
		used:        make([]portSet, c.PoolSize),
		towards:     map[place]*portSet{},
		subscribers: map[netip.Addr]*subscriber{},
		blocks:      map[block]bool{},
		next:        c.Low,
	}
	if c.Delta < 0 {
		a.next = c.High
	}
	return a
}

// Take chooses an external endpoint for an inside endpoint that talks to to,
// and keeps it taken. It returns false when there is none.
func (a *Allocator) Take(inside, to netip.AddrPort) (netip.AddrPort, bool) {
	s := a.subscriber(inside.Addr())
	external := s.external
	if a.config.Pooling == Arbitrary {
		external = a.rand.IntN(a.config.PoolSize)
	}
	used := a.usedAt(external, to)
	port, ok := a.choose(s, external, used, inside.Port())
	if !ok {
		return netip.AddrPort{}, false
	}
	used.add(port)
	return netip.AddrPortFrom(a.config.External[external], port), true
}

// TakeExactly keeps an external endpoint that the caller has chosen. It returns
// false if it is taken, or not one of this NAT.
func (a *Allocator) TakeExactly(outside, to netip.AddrPort) bool {
	external := a.external(outside.Addr())
	if external < 0 {
		return false
	}
	used := a.usedAt(external, to)
	if used.has(outside.Port()) {
		return false
	}
	used.add(outside.Port())
	return true
}

// Release lets an external endpoint go that Take has returned for to.
func (a *Allocator) Release(outside, to netip.AddrPort) {
	external := a.external(outside.Addr())
	if external < 0 {
		return
	}
	used := a.usedAt(external, to)
	used.remove(outside.Port())
	if used.count == 0 && a.config.Overload {
		delete(a.towards, place{external, to})
	}
}

func (a *Allocator) external(addr netip.Addr) int {
	for i, e := range a.config.External[:a.config.PoolSize] {
		if e == addr {
			return i
		}
	}
	return -1
}

// usedAt is the port space in which an endpoint towards to has to be free.
func (a *Allocator) usedAt(external int, to netip.AddrPort) *portSet {
	if !a.config.Overload {
		return &a.used[external]
	}
	at := place{external, to}
	s := a.towards[at]
	if s == nil {
		s = &portSet{}
		a.towards[at] = s
	}
	return s
}

func (a *Allocator) subscriber(inside netip.Addr) *subscriber {
	s := a.subscribers[inside]
	if s == nil {
		s = &subscriber{external: a.rand.IntN(a.config.PoolSize)}
		a.subscribers[inside] = s
	}
	return s
}

// choose applies the rule of port assignment.
func (a *Allocator) choose(s *subscriber, external int, used *portSet, inside uint16) (uint16, bool) {
	low, high := a.config.Low, a.config.High
	switch a.config.Ports {
	case Preserving:
		if inside != 0 && !used.has(inside) {
			return inside, true
		}
	case Sequential:
		return a.sequential(used)
	case Lowest:
		return used.missing(low, high)
	case Band:
		if s.band == 0 {
			s.band = low + uint16(a.rand.IntN(a.width()-a.config.Width+1))
		}
		return a.draw(used, s.band, s.band+uint16(a.config.Width-1))
	case Block:
		return a.inBlock(s, external, used)
	case Parity:
		return a.sameParity(used, inside)
	}
	return a.draw(used, low, high)
}

func (a *Allocator) width() int { return int(a.config.High) - int(a.config.Low) + 1 }

// draws is how often a random port is drawn before the next free one is taken:
// with nine ports of ten taken, one draw in thirty is then not uniform.
const draws = 32

// draw takes a random free port from low to high.
func (a *Allocator) draw(used *portSet, low, high uint16) (uint16, bool) {
	n := int(high) - int(low) + 1
	var port uint16
	for range draws {
		port = low + uint16(a.rand.IntN(n))
		if !used.has(port) {
			return port, true
		}
	}
	if p, ok := used.missing(port, high); ok {
		return p, true
	}
	return used.missing(low, high)
}

// sequential takes the first free port at next, next+Delta, and so on. A step
// that shares a divisor with the range does not reach every port: the lowest
// free one is the last resort.
func (a *Allocator) sequential(used *portSet) (uint16, bool) {
	lowest, ok := used.missing(a.config.Low, a.config.High)
	if !ok {
		return 0, false
	}
	port := a.next
	for range a.width() {
		a.next = a.step(port)
		if !used.has(port) {
			return port, true
		}
		port = a.next
	}
	return lowest, true
}

// step adds Delta within the range and around its ends.
func (a *Allocator) step(port uint16) uint16 {
	w := a.width()
	return a.config.Low + uint16(((int(port)-int(a.config.Low)+a.config.Delta)%w+w)%w)
}

// sameParity takes a random free port that is as odd or even as the inside one.
func (a *Allocator) sameParity(used *portSet, inside uint16) (uint16, bool) {
	first := a.config.Low + (a.config.Low^inside)&1
	if first > a.config.High || first < a.config.Low {
		return 0, false
	}
	n := (int(a.config.High)-int(first))/2 + 1
	at := a.rand.IntN(n)
	for range draws {
		if port := first + uint16(2*at); !used.has(port) {
			return port, true
		}
		at = a.rand.IntN(n)
	}
	for range n {
		if port := first + uint16(2*at); !used.has(port) {
			return port, true
		}
		at = (at + 1) % n
	}
	return 0, false
}

// inBlock takes a random free port of the subscriber's blocks, the latest
// first, or of a new block.
func (a *Allocator) inBlock(s *subscriber, external int, used *portSet) (uint16, bool) {
	for _, b := range slices.Backward(s.blocks) {
		if b.external != external {
			continue
		}
		if port, ok := a.draw(used, b.first, b.first+uint16(a.config.Width-1)); ok {
			return port, true
		}
	}
	b, ok := a.newBlock(external)
	if !ok {
		return 0, false
	}
	s.blocks = append(s.blocks, b)
	return a.draw(used, b.first, b.first+uint16(a.config.Width-1))
}

// newBlock assigns a random block that nobody has.
func (a *Allocator) newBlock(external int) (block, bool) {
	n := a.width() / a.config.Width
	start := a.rand.IntN(n)
	for i := range n {
		b := block{external, a.config.Low + uint16((start+i)%n*a.config.Width)}
		if !a.blocks[b] {
			a.blocks[b] = true
			return b, true
		}
	}
	return block{}, false
}

// Advance lets foreign mappings come and go up to now. The first call starts
// the process; a population in its steady state needs a call ChurnLife earlier.
func (a *Allocator) Advance(now time.Time) {
	if a.config.Churn > 0 {
		a.foreign.advance(a, now)
	}
}
