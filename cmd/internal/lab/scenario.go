package lab

import (
	"fmt"
	"math"
	"net/netip"
	"time"
)

// The addresses of the lab's internet. They are those set aside for
// documentation (RFC 5737, RFC 3849), so that no packet of the lab could mean a
// real host.
var (
	coordinator4    = netip.MustParseAddr("192.0.2.10")
	coordinatorAlt4 = netip.MustParseAddr("192.0.2.11")
	coordinator6    = netip.MustParseAddr("2001:db8:0:10::10")
	timeServer4     = netip.MustParseAddr("192.0.2.123")
	timeServer6     = netip.MustParseAddr("2001:db8:0:123::123")
	internet4       = netip.MustParseAddr("192.0.2.1")
	internet6       = netip.MustParseAddr("2001:db8::1")
)

// internet is the name of the segment between all sites.
const internet = "internet"

// Scenario is a whole network as a value: nothing of it exists until Build.
type Scenario struct {
	Nodes []Node `json:"nodes"`
	Link  Link   `json:"link"`

	NoSpin bool `json:"-"` // the core need not be on time to some 300 µs
	Burst  int  `json:"-"` // packets of a node that the core holds at most until it reads them; 0: netlab's default
}

// Link is what a packet meets between any two hosts of the internet. A delay
// of 0 means plain wires and a routing kernel instead of the core.
type Link struct {
	Delay  time.Duration `json:"delay_ns"`  // one way
	Jitter time.Duration `json:"jitter_ns"` // at most this much more or less, one way
	Loss   float64       `json:"loss"`      // one way, 0 to 1
}

// Wires says whether the link is a plain wire.
func (l Link) Wires() bool { return l == Link{} }

// Wires says whether the internet is made of plain wires, without the core: an
// emulated box needs it.
func (s Scenario) Wires() bool {
	for _, n := range s.Nodes {
		if n.Box != nil && n.Box.Engine == Emulated {
			return false
		}
	}
	return s.Link.Wires()
}

// Node is one machine: a network namespace.
type Node struct {
	Name       string      `json:"name"`
	Interfaces []Interface `json:"interfaces"`
	Gateway4   netip.Addr  `json:"gateway4,omitzero"` // default route inside a site
	Gateway6   netip.Addr  `json:"gateway6,omitzero"`
	Forwards   bool        `json:"forwards"`
	Box        *Box        `json:"box,omitempty"` // what it does to what it forwards between lan and wan
}

// Interface plugs a node into a segment. Two interfaces on a segment are a
// cable, more are a switch; the segment "internet" is the core.
type Interface struct {
	Name      string         `json:"name"`
	Segment   string         `json:"segment"`
	Addresses []netip.Prefix `json:"addresses"`
	Routed    []netip.Prefix `json:"routed,omitempty"` // networks behind it
}

// site holds the addresses of one side.
type site struct {
	side        string       // "a" or "b"
	wan         netip.Addr   // of the NAT, or of the client without one
	lan         netip.Prefix // inside network of a NAT
	public      netip.Prefix // inside network of a firewall; wan is the client's address in it
	firewallWAN netip.Addr
	pool        netip.Prefix   // further outside addresses of a NAT
	kernel      netip.Addr     // of the kernel in front of an emulated NAT
	carrier     []netip.Prefix // inside networks of the NATs behind the first
	wan6        netip.Addr     // the client's IPv6 address
	lan6        netip.Prefix   // inside network of a firewall, wan6 is in it
	router6     netip.Addr     // of the firewall on the internet
}

var siteA = site{
	side: "a", wan: netip.MustParseAddr("198.51.100.1"), lan: netip.MustParsePrefix("192.168.1.0/24"),
	public: netip.MustParsePrefix("198.51.100.0/29"), firewallWAN: netip.MustParseAddr("198.51.100.9"),
	pool: netip.MustParsePrefix("198.51.100.128/25"), kernel: netip.MustParseAddr("192.0.0.1"), carrier: carriers("100.64.1.0/24", "100.64.2.0/24", "100.64.3.0/24"),
	wan6: netip.MustParseAddr("2001:db8:a::1"), lan6: netip.MustParsePrefix("2001:db8:a::/64"), router6: netip.MustParseAddr("2001:db8:a:1::1"),
}

var siteB = site{
	side: "b", wan: netip.MustParseAddr("203.0.113.1"), lan: netip.MustParsePrefix("192.168.2.0/24"),
	public: netip.MustParsePrefix("203.0.113.0/29"), firewallWAN: netip.MustParseAddr("203.0.113.9"),
	pool: netip.MustParsePrefix("203.0.113.128/25"), kernel: netip.MustParseAddr("192.0.0.2"), carrier: carriers("100.64.11.0/24", "100.64.12.0/24", "100.64.13.0/24"),
	wan6: netip.MustParseAddr("2001:db8:b::1"), lan6: netip.MustParsePrefix("2001:db8:b::/64"), router6: netip.MustParseAddr("2001:db8:b:1::1"),
}

func carriers(list ...string) []netip.Prefix {
	var networks []netip.Prefix
	for _, p := range list {
		networks = append(networks, netip.MustParsePrefix(p))
	}
	return networks
}

// Bounds of what the addresses of a site suffice for.
const (
	longestChain = 4
	largestPool  = 100
)

// PlanNetwork makes the network of two profiles. If either is shared, both
// clients stand behind that one box.
func PlanNetwork(a, b Profile, link Link) Scenario {
	s := Scenario{Link: link, Nodes: servers()}
	sa, sb := siteA, siteB
	if a.BridgeLab {
		sa.lan = netip.MustParsePrefix("192.168.111.0/24")
	}
	if b.BridgeLab {
		sb.lan = netip.MustParsePrefix("192.168.222.0/24")
	}
	switch {
	case a.Shared:
		s.Nodes = append(s.Nodes, shared(a, sa)...)
	case b.Shared:
		s.Nodes = append(s.Nodes, shared(b, sa)...)
	default:
		s.Nodes = append(append(s.Nodes, sa.nodes(a)...), sb.nodes(b)...)
	}
	return s
}

func servers() []Node {
	return []Node{
		{Name: "coordinator", Interfaces: []Interface{onInternet("eth0", coordinator4, coordinatorAlt4, coordinator6)}},
		{Name: "time", Interfaces: []Interface{onInternet("eth0", timeServer4, timeServer6)}},
	}
}

// onInternet is an interface of which every address stands alone: all else is
// reached through the internet.
func onInternet(name string, addresses ...netip.Addr) Interface {
	i := Interface{Name: name, Segment: internet}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, netip.PrefixFrom(a, a.BitLen()))
	}
	return i
}

func (s site) nodes(p Profile) []Node {
	switch {
	case len(p.Boxes) == 0:
		return []Node{s.alone(p)}
	case p.Boxes[0].Behavior.Firewall:
		return s.firewall(p)
	}
	return append(s.translators(p.Boxes), s.client(s.side, 2))
}

// alone is a host without a box before it.
func (s site) alone(p Profile) Node {
	var addresses []netip.Addr
	if p.IPv4 {
		addresses = append(addresses, s.wan)
	}
	if p.IPv6 {
		addresses = append(addresses, s.wan6)
	}
	return Node{Name: s.side, Interfaces: []Interface{onInternet("eth0", addresses...)}}
}

// translators are the boxes of a site, from the client outwards: nat-a, and
// behind it nat-a-2 and so on. Between two of them lies a network of addresses
// that carriers use for that (RFC 6598).
func (s site) translators(boxes []Box) []Node {
	var nodes []Node
	inside, segment := s.lan, "lan-"+s.side
	for i, b := range boxes {
		n := Node{Name: "nat-" + s.side, Forwards: true, Box: &b}
		if i > 0 {
			n.Name = fmt.Sprintf("nat-%s-%d", s.side, i+1)
		}
		lan := Interface{Name: "lan", Segment: segment, Addresses: []netip.Prefix{host(inside, 1)}}
		if i > 0 && boxes[i-1].Engine == Emulated {
			lan.Routed = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} // the wire to the emulator leads nowhere else
		}
		var wan Interface
		if i == len(boxes)-1 {
			wan = s.outermost(n.Box)
		} else {
			inside, segment = s.carrier[i], fmt.Sprintf("carrier-%s-%d", s.side, i+1)
			wan = s.between(n.Box, inside, segment)
			if b.Engine == Netfilter {
				n.Gateway4 = host(inside, 1).Addr()
			}
		}
		n.Interfaces = []Interface{wan, lan}
		nodes = append(nodes, n)
	}
	return nodes
}

// outermost is a box's interface on the internet. In front of an emulated
// translator stands a kernel with an address of its own, which nobody sees
// (RFC 6333 section 5.7).
func (s site) outermost(b *Box) Interface {
	if b.Engine == Netfilter {
		return onInternet("wan", s.wan)
	}
	b.Behavior.External = append(b.Behavior.External, s.wan)
	for i := 1; i < b.Behavior.PoolSize; i++ {
		b.Behavior.External = append(b.Behavior.External, host(s.pool, i).Addr())
	}
	i := onInternet("wan", s.kernel)
	for _, a := range b.Behavior.External {
		i.Routed = append(i.Routed, netip.PrefixFrom(a, a.BitLen()))
	}
	return i
}

// between is a box's interface in the network of the next box.
func (s site) between(b *Box, network netip.Prefix, segment string) Interface {
	i := Interface{Name: "wan", Segment: segment, Addresses: []netip.Prefix{host(network, 2)}}
	if b.Engine == Netfilter {
		return i
	}
	i.Addresses = []netip.Prefix{netip.PrefixFrom(s.kernel, s.kernel.BitLen())}
	for k := range max(b.Behavior.PoolSize, 1) {
		a := host(network, 2+k).Addr()
		b.Behavior.External = append(b.Behavior.External, a)
		i.Routed = append(i.Routed, netip.PrefixFrom(a, a.BitLen()))
	}
	return i
}

// client is a host in the site's private network; number is its address there.
func (s site) client(name string, number int) Node {
	return Node{Name: name, Gateway4: host(s.lan, 1).Addr(), Interfaces: []Interface{
		{Name: "eth0", Segment: "lan-" + s.side, Addresses: []netip.Prefix{host(s.lan, number)}}}}
}

// shared puts both clients behind the boxes of one side.
func shared(p Profile, s site) []Node {
	return append(s.translators(p.Boxes), s.client("a", 2), s.client("b", 3))
}

func (s site) firewall(p Profile) []Node {
	box := Node{Name: "nat-" + s.side, Forwards: true, Box: &p.Boxes[0]}
	client := Node{Name: s.side}
	wan, lan := Interface{Name: "wan", Segment: internet}, Interface{Name: "lan", Segment: "lan-" + s.side}
	eth := Interface{Name: "eth0", Segment: lan.Segment}
	if p.IPv4 {
		wan.Addresses = append(wan.Addresses, netip.PrefixFrom(s.firewallWAN, 32))
		wan.Routed = append(wan.Routed, s.public)
		lan.Addresses = append(lan.Addresses, host(s.public, 6))
		eth.Addresses = append(eth.Addresses, netip.PrefixFrom(s.wan, s.public.Bits()))
		client.Gateway4 = host(s.public, 6).Addr()
	}
	if p.IPv6 {
		wan.Addresses = append(wan.Addresses, netip.PrefixFrom(s.router6, 128))
		wan.Routed = append(wan.Routed, s.lan6)
		lan.Addresses = append(lan.Addresses, host(s.lan6, 6))
		eth.Addresses = append(eth.Addresses, netip.PrefixFrom(s.wan6, s.lan6.Bits()))
		client.Gateway6 = host(s.lan6, 6).Addr()
	}
	box.Interfaces, client.Interfaces = []Interface{wan, lan}, []Interface{eth}
	return []Node{box, client}
}

// host is the n-th address of a network, with the network's length.
func host(p netip.Prefix, n int) netip.Prefix {
	a := p.Masked().Addr()
	for range n {
		a = a.Next()
	}
	return netip.PrefixFrom(a, p.Bits())
}

// Node finds a node by its name.
func (s Scenario) Node(name string) (Node, bool) {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// Boxes are the nodes that filter or translate.
func (s Scenario) Boxes() []Node {
	var boxes []Node
	for _, n := range s.Nodes {
		if n.Box != nil {
			boxes = append(boxes, n)
		}
	}
	return boxes
}

// segments lists for every segment but the internet who is plugged in, in the
// order of the nodes.
func (s Scenario) segments() (names []string, ends map[string][]end) {
	ends = map[string][]end{}
	for _, n := range s.Nodes {
		for _, i := range n.Interfaces {
			if i.Segment == internet {
				continue
			}
			if ends[i.Segment] == nil {
				names = append(names, i.Segment)
			}
			ends[i.Segment] = append(ends[i.Segment], end{n.Name, i})
		}
	}
	return names, ends
}

// end is one plug: an interface of a node.
type end struct {
	node string
	Interface
}

// useIPv6 says by which family two profiles reach each other: IPv4 where both
// have it.
func useIPv6(a, b Profile) bool { return !(a.IPv4 && b.IPv4) && a.IPv6 && b.IPv6 }

// reachable says whether the two have a family in common.
func reachable(a, b Profile) bool { return a.IPv4 && b.IPv4 || a.IPv6 && b.IPv6 }

// addresses are those of the node itself.
func (n Node) addresses() []netip.Addr {
	var list []netip.Addr
	for _, i := range n.Interfaces {
		for _, p := range i.Addresses {
			list = append(list, p.Addr())
		}
	}
	return list
}

// halfLoss is the loss of each of two links that together lose the given share.
func halfLoss(loss float64) float64 { return 1 - math.Sqrt(1-loss) }

// outside is a box's first address on its wan interface.
func (n Node) outside() netip.Addr {
	for _, i := range n.Interfaces {
		if i.Name == "wan" && len(i.Addresses) > 0 {
			return i.Addresses[0].Addr()
		}
	}
	return netip.Addr{}
}

func (s Scenario) nodeNames() []string {
	var names []string
	for _, n := range s.Nodes {
		names = append(names, n.Name)
	}
	return names
}
