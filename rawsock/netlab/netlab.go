// Package netlab answers how two hosts, the routers between them and the
// distance can be had on one machine: network namespaces held by file
// descriptor, links between them, and a core, which is a userspace Internet
// with exact delay. Kernels and their TCP are real; only the distance is made.
// It knows nothing of address translation: a namespace may run a kernel NAT,
// and a port may carry a Middlebox.
//
// Read [Namespace] first, then [PortConfig] and [Core]. The packet arithmetic
// (header.go, icmp.go, route.go) is pure and runs on every platform; the rest
// is Linux and elsewhere returns an error that wraps errors.ErrUnsupported.
//
// Hazards: setns(2) changes one thread, never the process, so general Go code
// must not run inside [Namespace.Do]; and everything here needs CAP_NET_ADMIN,
// CAP_NET_RAW and CAP_SYS_ADMIN over the namespaces, which an ordinary user
// obtains by being re-executed in a user namespace (see netlabtest for tests).
package netlab

import (
	"net/netip"
	"time"
)

// DeviceKind selects how the core is connected to a namespace.
type DeviceKind int

const (
	Auto   DeviceKind = iota // TUN where /dev/net/tun can be opened, else Packet
	TUN                      // a TUN device
	Packet                   // a veth pair whose far end is read through AF_PACKET
)

var deviceKindNames = [...]string{"auto", "tun", "packet"}

// PortConfig describes one connection of a namespace to the core.
type PortConfig struct {
	Namespace *Namespace
	Name      string         // of the device inside Namespace (at most 15 bytes), and of the port in traces
	Addresses []netip.Prefix // of the device
	// Routed are further prefixes that the core delivers here. A default route per
	// family of Addresses leads into the core, unless Routed has 0.0.0.0/0 or ::/0,
	// because the way to everything is then behind this port.
	Routed []netip.Prefix
	Link   Link  // towards the core and, unless Down is set, back
	Down   *Link // from the core towards the device
	Device DeviceKind
	// Middlebox, if any, sits between the device and the link; several make a
	// Chain. The core then delivers only Routed here: Addresses are its inside.
	Middlebox Middlebox
}

// Direction tells which way a packet crosses a Middlebox.
type Direction int

const (
	DirectionUnknown Direction = iota
	Outbound                   // from the device towards the core
	Inbound                    // from the core towards the device
)

var directionNames = [...]string{"unknown", "outbound", "inbound"}

// Emission is a packet a Middlebox sends, and where to.
type Emission struct {
	Direction Direction
	Packet    []byte
}

// Middlebox is a packet function on a port. Both methods are called on the
// core's thread only and must neither block nor read a clock.
type Middlebox interface {
	// Process is given one IP packet and returns what is sent on: none, the
	// packet changed or unchanged, or others such as answers and hairpins. The
	// packet may be changed in place and is valid during the call; what is
	// returned is copied at once, so it may be reused by the next call. A nil
	// packet with DirectionUnknown says that the deadline of Next has come.
	// now never goes backwards and carries a monotonic reading.
	Process(packet []byte, d Direction, now time.Time) []Emission
	// Next is the instant at which Process wants a nil packet; zero for none.
	Next() time.Time
}

// CoreConfig configures a Core. The zero value is usable.
type CoreConfig struct {
	Hops int    // routers between any two ports that decrement TTL; 0 means DefaultHops, less is NoHops
	Seed uint64 // of loss, jitter and reordering
	// ErrorRate is how many ICMP errors per second each router sends at most, after
	// a burst of a twentieth of that; 0 means DefaultErrorRate, less than 0 no limit.
	ErrorRate int
	Observe   func(Passage) // called on the core's thread for each passage; must return quickly
	// Burst is how many packets of one port a Packet device holds until the core
	// reads them, each in 2 kB; 0 means DefaultBurst.
	Burst int
	// NoSpin lets the core sleep until a packet is due, instead of shortly before.
	// That takes less of the processor, and packets are later by what it takes to
	// wake up: some 20 to 300 µs.
	NoSpin bool
}

// DefaultHops is the number of routers between two ports unless configured:
// enough that a low TTL leaves a NAT and dies before the other one.
const DefaultHops = 3

// DefaultBurst is some 15 ms of the fastest sender measured.
const DefaultBurst = 8192

// NoHops makes a core a plain wire between its ports, on which middleboxes sit
// as bumps: TTLs stay as they are, nobody answers with ICMP errors, and what has
// no destination at another port is lost. So an emulated box can stand between
// the namespaces of a client and of a router with a kernel of its own.
const NoHops = -1

// DefaultErrorRate, with its burst of 50, is how Linux limits the ICMP errors
// of a host: icmp_msgs_per_sec and icmp_msgs_burst of its ip-sysctl.rst. RFC 1812
// section 4.3.2.8 requires routers to have such a limit.
const DefaultErrorRate = 1000

// Event is what happened to a packet.
type Event int

const (
	EventUnknown Event = iota
	Entered            // it entered the link from a port, behind the port's middlebox
	Delivered          // it left the core at a port, before the port's middlebox
	Lost               // the link lost it
	TTLExceeded        // its TTL or hop limit ran out at a hop
	Unreachable        // no port has its destination
	Discarded          // it was malformed, not unicast, or the device had no room or was down
	QueueFull          // the link's queue had no room
)

var eventNames = [...]string{"unknown", "entered", "delivered", "lost", "ttl-exceeded", "unreachable", "discarded", "queue-full"}

// Passage reports one event of one packet.
type Passage struct {
	ID     uint64        // same for all events of one packet
	At     time.Duration // reading of CLOCK_MONOTONIC; of Delivered: just before the packet was handed to the kernel
	Due    time.Duration // of Delivered: when it should have been, the same clock; otherwise 0
	Wall   time.Time     // At as wall clock time
	From   string        // port it entered from; empty for what a hop sent
	To     string        // port it is delivered to; empty where not known
	Event  Event
	Packet []byte // the IP packet; valid during the call only
}
