package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Config is the behaviour of a NAT. Only External is required, unless it is a
// Firewall. The zero value of the rest is endpoint-independent mapping,
// address-and-port-dependent filtering, preserved ports, silence, and no
// interference with what belongs to a connection.
type Config struct {
	External []netip.Addr // the addresses outside
	Firewall bool         // filters without translating; IPv4 and IPv6

	Mapping   Mapping
	Filtering Filtering

	Ports     PortAssignment
	Delta     int    // Sequential: step, of either sign; 0 means 1
	Low, High uint16 // range of ports that are not preserved; 0 means 1024 and 65535
	Width     int    // Band, Block: number of ports; 0 means 512
	Overload  bool   // one external port serves several destinations at once, for different inside endpoints
	Pooling   Pooling
	PoolSize  int // how many of External are used; 0 means all

	Unsolicited Unsolicited
	Crossing    Crossing
	Resets      ResetHandling
	Errors      ErrorHandling
	Sequence    Sequence
	Hairpin     bool // packets from inside to the NAT's own endpoints go back inside (RFC 5382 section 7.2)

	SYNRate int // new TCP sessions per second, of all inside addresses together; 0 means without limit
	Quota   int // mappings of one inside address; 0 means without limit

	// Foreign mappings from the same allocator. They arrive as a Poisson
	// process of batches, whose size is geometric.
	Churn      float64       // mean number of mappings per second
	ChurnBatch float64       // mean size of a batch; 0 means 1
	ChurnLife  time.Duration // how long each lasts; 0 means a minute

	// Idle times after which a session ends.
	Transitory  time.Duration // TCP until it is established, and after a FIN; 0 means 4 minutes (RFC 5382 section 5, REQ-5)
	Established time.Duration // TCP; 0 means 2 hours 4 minutes (REQ-5)
	SYNReceived time.Duration // TCP with a SYN-ACK; 0 means Transitory
	Closed      time.Duration // TCP after a RST that Resets keeps or that poisoned the endpoints; 0 means 10 seconds
	Datagram    time.Duration // UDP and ICMP queries; 0 means 5 minutes (RFC 4787 section 4.3, REQ-5)
	HoldTime    time.Duration // Hold; 0 means 6 seconds (RFC 5382 section 4.3, REQ-4)

	RewriteTTL   uint8  // what passes gets this TTL or hop limit; 0 means that it stays
	StripOptions bool   // the options of a SYN, except the maximum segment size, become NOPs
	ClampMSS     uint16 // the greatest maximum segment size of a SYN; 0 means any

	Seed    uint64         // of the random draws
	Observe func(Decision) // is told every decision; nil means that nobody is
}

// Netfilter is the masquerade of a Linux router, with its input rules left to
// Unsolicited: what SequenceWindow does is netfilter's connection tracking, and
// the timeouts are its defaults (nf_conntrack-sysctl of the kernel's
// documentation).
func Netfilter(external ...netip.Addr) Config {
	return Config{
		External:    external,
		Mapping:     EndpointIndependent,
		Filtering:   FilterAddressAndPortDependent,
		Ports:       Preserving,
		Overload:    true,
		Sequence:    SequenceWindow,
		Transitory:  2 * time.Minute,
		SYNReceived: time.Minute,
		Established: 5 * 24 * time.Hour,
		Closed:      10 * time.Second,
		Datagram:    2 * time.Minute,
	}
}

// complete fills in what zero values stand for, and checks the rest.
func (c *Config) complete() error {
	setDefault(&c.Mapping, EndpointIndependent)
	setDefault(&c.Filtering, FilterAddressAndPortDependent)
	setDefault(&c.Ports, Preserving)
	setDefault(&c.Delta, 1)
	setDefault(&c.Low, 1024)
	setDefault(&c.High, 65535)
	setDefault(&c.Width, 512)
	setDefault(&c.Pooling, Paired)
	setDefault(&c.PoolSize, len(c.External))
	setDefault(&c.Unsolicited, Drop)
	setDefault(&c.Crossing, CrossingAccept)
	setDefault(&c.Resets, ResetKill)
	setDefault(&c.Errors, ErrorsIgnore)
	setDefault(&c.Sequence, SequenceNone)
	setDefault(&c.ChurnBatch, 1)
	setDefault(&c.ChurnLife, time.Minute)
	c.completeTimes()
	return errors.Join(c.checkWords(), c.checkNumbers(), c.checkAddresses())
}

func (c *Config) completeTimes() {
	setDefault(&c.Transitory, 4*time.Minute)
	setDefault(&c.Established, 2*time.Hour+4*time.Minute)
	setDefault(&c.SYNReceived, c.Transitory)
	setDefault(&c.Closed, 10*time.Second)
	setDefault(&c.Datagram, 5*time.Minute)
	setDefault(&c.HoldTime, 6*time.Second)
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c *Config) checkWords() error {
	switch {
	case c.Mapping > PerConnection:
		return fmt.Errorf("mapping %v is no behaviour", c.Mapping)
	case c.Filtering > FilterAddressAndPortDependent:
		return fmt.Errorf("filtering %v is no behaviour", c.Filtering)
	case c.Ports > Parity:
		return fmt.Errorf("ports %v is no behaviour", c.Ports)
	case c.Pooling > Arbitrary:
		return fmt.Errorf("pooling %v is no behaviour", c.Pooling)
	case c.Unsolicited > Poison:
		return fmt.Errorf("unsolicited %v is no behaviour", c.Unsolicited)
	case c.Crossing > CrossingReset:
		return fmt.Errorf("crossing %v is no behaviour", c.Crossing)
	case c.Resets > ResetDropNext:
		return fmt.Errorf("resets %v is no behaviour", c.Resets)
	case c.Errors > ErrorsKill:
		return fmt.Errorf("errors %v is no behaviour", c.Errors)
	case c.Sequence > SequenceRewrite:
		return fmt.Errorf("sequence %v is no behaviour", c.Sequence)
	}
	return nil
}

func (c *Config) checkNumbers() error {
	ports := int(c.High) - int(c.Low) + 1
	switch {
	case c.Low > c.High:
		return fmt.Errorf("no port lies between %d and %d", c.Low, c.High)
	case c.Delta <= -65536 || c.Delta >= 65536:
		return fmt.Errorf("step %d is larger than the port space", c.Delta)
	case c.Width < 0 || (c.Ports == Band || c.Ports == Block) && c.Width > ports:
		return fmt.Errorf("%d ports do not fit between %d and %d", c.Width, c.Low, c.High)
	case c.SYNRate < 0 || c.Quota < 0:
		return errors.New("a limit is negative")
	case !(c.Churn >= 0 && c.Churn <= 1e6):
		return fmt.Errorf("%v foreign mappings per second: want 0 to a million", c.Churn)
	case !(c.ChurnBatch >= 1 && c.ChurnBatch <= 1e4):
		return fmt.Errorf("batches of %v foreign mappings: want 1 to 10000", c.ChurnBatch)
	case min(c.ChurnLife, c.Transitory, c.Established, c.SYNReceived, c.Closed, c.Datagram, c.HoldTime) < 0:
		return errors.New("a time is negative")
	case c.ClampMSS != 0 && c.ClampMSS < 64:
		return fmt.Errorf("a maximum segment size of %d leaves no room for data", c.ClampMSS)
	}
	return nil
}

func (c *Config) checkAddresses() error {
	if c.Firewall {
		if len(c.External) != 0 {
			return errors.New("a firewall does not translate, and so has no external address")
		}
		return nil
	}
	if len(c.External) == 0 {
		return errors.New("no external address")
	}
	if c.PoolSize < 0 || c.PoolSize > len(c.External) {
		return fmt.Errorf("a pool of %d needs as many external addresses, there are %d", c.PoolSize, len(c.External))
	}
	for _, a := range c.External {
		if !a.Is4() {
			return fmt.Errorf("external address %v is not IPv4: this NAT does not translate IPv6", a)
		}
	}
	return nil
}
