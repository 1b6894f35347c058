package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Core is the Internet between its ports: any two are Hops routers apart, each
// with an address of its own from 198.18.0.0/15 (RFC 2544) and 2001:2::/48
// (RFC 5180) that answers with ICMP errors. A packet that enters at t leaves at
// t plus the delays of both links, exactly; order is kept unless a link disturbs
// it. The routers themselves take no time and have no limit but that of errors.
type Core struct {
	config CoreConfig
	routes routes
	ports  []*port
	engine *engine // nil until Start
	// backstage holds the far ends of Packet devices; nil until one is made.
	backstage *Namespace
	closed    bool
}

// port is one attachment and its device.
type port struct {
	PortConfig
	index  int
	device device
	stats  stats
}

// device is what carries packets between the core and a namespace.
type device interface {
	fd() int
	// read fills b with the next packet; malformed ones have length 0. It
	// returns false when there is none now. The time is the kernel's when it got
	// the packet, in nanoseconds since 1970, or 0 where it took none.
	read(b []byte) (length int, wall int64, ok bool)
	// write sends the IP packet that starts at b[headroom]. It fails when the
	// device has no room or is down.
	write(b []byte) error
	// failed is called after poll has reported an error condition; true means
	// that the device is gone for good.
	failed() bool
	close() error
}

const (
	headroom  = 14   // Ethernet header, for devices that need one
	mtu       = 1500 // of every port
	maxPacket = 2048
)

// NewCore makes a core without ports.
func NewCore(c CoreConfig) (*Core, error) {
	switch {
	case c.Hops == 0:
		c.Hops = DefaultHops
	case c.Hops < 0:
		c.Hops = 0
	case c.Hops > 200:
		return nil, fmt.Errorf("core: %d hops: want at most 200", c.Hops)
	}
	if c.Burst <= 0 {
		c.Burst = DefaultBurst
	}
	if c.ErrorRate == 0 {
		c.ErrorRate = DefaultErrorRate
	}
	return &Core{config: c}, nil
}

// Attach connects a namespace. It must be called before Start.
func (c *Core) Attach(p PortConfig) error {
	if c.engine != nil || c.closed {
		return errors.New("attach: the core has been started")
	}
	if err := p.check(); err != nil {
		return fmt.Errorf("attach %s: %w", p.Name, err)
	}
	q := &port{PortConfig: p, index: len(c.ports)}
	table, err := c.routes.with(p.delivered(), q.index)
	if err != nil {
		return fmt.Errorf("attach %s: %w", p.Name, err)
	}
	if q.device, err = c.openDevice(q); err != nil {
		return fmt.Errorf("attach %s: %w", p.Name, err)
	}
	c.ports, c.routes = append(c.ports, q), table
	return nil
}

// closeDevices closes all at once: the kernel lets each wait until no processor
// looks at it any more (synchronize_net), most of which they can do together.
func (c *Core) closeDevices() error {
	errs := make([]error, len(c.ports))
	var all sync.WaitGroup
	for i, p := range c.ports {
		all.Go(func() { errs[i] = p.device.close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (p PortConfig) check() error {
	switch {
	case p.Namespace == nil:
		return errors.New("no namespace")
	case p.Name == "" || len(p.Name) > 15:
		return errors.New("want a name of 1 to 15 bytes")
	}
	if err := p.Link.check(); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	if err := p.down().check(); err != nil {
		return fmt.Errorf("link down: %w", err)
	}
	return nil
}

// down is the link towards the device.
func (p PortConfig) down() Link {
	if p.Down != nil {
		return *p.Down
	}
	return p.Link
}

// delivered returns the prefixes the core sends to this port.
func (p PortConfig) delivered() []netip.Prefix {
	var all []netip.Prefix
	if p.Middlebox == nil {
		for _, a := range p.Addresses {
			all = append(all, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
		}
	}
	return append(all, p.Routed...)
}

// Start lets packets flow.
func (c *Core) Start() error {
	if c.engine != nil || c.closed {
		return errors.New("start: the core has been started")
	}
	e, err := startEngine(c)
	if err != nil {
		return fmt.Errorf("start core: %w", err)
	}
	c.engine = e
	return nil
}

// errNotRunning is what only a running core can tell.
var errNotRunning = errors.New("the core is not running")

// CPUTime is how long the core's thread has run since Start.
func (c *Core) CPUTime() (time.Duration, error) {
	if c.engine == nil || c.closed {
		return 0, errNotRunning
	}
	return c.engine.cpuTime()
}

// RealTime tells whether the system granted the core's thread SCHED_FIFO. Without
// it other threads delay the core when the machine is busy.
func (c *Core) RealTime() bool { return c.engine != nil && c.engine.realTime }

// Close stops the core and removes its devices. Packets on their way are lost.
func (c *Core) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	var errs []error
	if c.engine != nil {
		errs = append(errs, c.engine.stop())
	}
	errs = append(errs, c.closeDevices())
	if c.backstage != nil {
		errs = append(errs, c.backstage.Close())
	}
	return errors.Join(errs...)
}
