package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"tcppunch/rawsock/netlab"
)

// Network is a scenario in the kernel. Nothing of it has a name outside this
// process, so nothing of it outlives the process.
type Network struct {
	Scenario Scenario

	namespaces map[string]*netlab.Namespace
	wires      []*netlab.Namespace // of switches and the routing internet
	core       *netlab.Core        // nil where plain wires are the internet
	segments   []*netlab.Core      // wires inside a site on which an emulator stands
	logs       []*connectionLog
	emulators  []*emulator
	feed       feed
	began      time.Time // what the boxes told before is forgotten
}

var (
	default4 = netip.MustParsePrefix("0.0.0.0/0")
	default6 = netip.MustParsePrefix("::/0")
)

// kernel is held during system calls that keep a processor for milliseconds
// where the kernel cannot be preempted: namespaces, devices, programs. One
// processor then stays free for the cores of other networks, which must be on
// time.
var kernel sync.Mutex

// Build makes the network of a scenario. observe, if not nil, is told every
// packet that passes the core.
func Build(s Scenario, observe func(netlab.Passage)) (*Network, error) {
	kernel.Lock()
	defer kernel.Unlock()
	n := &Network{Scenario: s, namespaces: map[string]*netlab.Namespace{}}
	for _, step := range []func() error{n.makeNodes, n.makeSites, func() error { return n.makeInternet(observe) }, n.makeRoutes, n.makeBoxes} {
		if err := step(); err != nil {
			return nil, errors.Join(fmt.Errorf("build the lab's network: %w", err), n.release())
		}
	}
	return n, nil
}

func (n *Network) makeNodes() error {
	for _, node := range n.Scenario.Nodes {
		ns, err := netlab.New(node.Name)
		if err != nil {
			return err
		}
		n.namespaces[node.Name] = ns
		if node.Forwards {
			if err := forward(ns); err != nil {
				return err
			}
		}
	}
	return nil
}

func forward(ns *netlab.Namespace) error {
	return errors.Join(ns.Sysctl("net.ipv4.ip_forward", "1"), ns.Sysctl("net.ipv6.conf.all.forwarding", "1"))
}

// makeSites connects what stands in a site: by a cable, or by a switch.
func (n *Network) makeSites() error {
	names, ends := n.Scenario.segments()
	for _, name := range names {
		if err := n.connect(name, ends[name]); err != nil {
			return err
		}
	}
	return nil
}

func (n *Network) connect(segment string, ends []end) error {
	for _, e := range ends {
		if n.emulated(e.node) && e.Name == "wan" {
			return n.wireWithBox(ends)
		}
	}
	if len(ends) == 2 {
		a, b := ends[0], ends[1]
		if err := netlab.Veth(n.namespaces[a.node], a.Name, n.namespaces[b.node], b.Name); err != nil {
			return err
		}
	} else if err := n.switchOf(segment, ends); err != nil {
		return err
	}
	for _, e := range ends {
		if err := address(n.namespaces[e.node], e.Interface); err != nil {
			return err
		}
	}
	return nil
}

// wireWithBox connects a box behind another one to it: the emulator stands on
// the wire.
func (n *Network) wireWithBox(ends []end) error {
	core, err := netlab.NewCore(netlab.CoreConfig{Hops: netlab.NoHops, NoSpin: n.Scenario.NoSpin, Burst: n.Scenario.Burst})
	if err != nil {
		return err
	}
	n.segments = append(n.segments, core)
	for _, e := range ends {
		if err := n.attach(core, e, netlab.Link{}); err != nil {
			return err
		}
	}
	return core.Start()
}

// attach plugs an interface into a core, behind its emulator if it has one.
func (n *Network) attach(core *netlab.Core, e end, link netlab.Link) (err error) {
	port := netlab.PortConfig{Namespace: n.namespaces[e.node], Name: e.Name, Addresses: e.Addresses, Routed: e.Routed, Link: link}
	if n.emulated(e.node) && e.Name == "wan" {
		if port.Middlebox, err = n.emulate(e.node); err != nil {
			return err
		}
	}
	return core.Attach(port)
}

func (n *Network) emulated(node string) bool {
	box, _ := n.Scenario.Node(node)
	return box.Box != nil && box.Box.Engine == Emulated
}

func (n *Network) switchOf(segment string, ends []end) error {
	ns, err := netlab.New(segment)
	if err != nil {
		return err
	}
	n.wires = append(n.wires, ns)
	var ports []string
	for i, e := range ends {
		port := fmt.Sprintf("port%d", i)
		if err := netlab.Veth(ns, port, n.namespaces[e.node], e.Name); err != nil {
			return err
		}
		ports = append(ports, port)
	}
	return netlab.Bridge(ns, "switch", ports...)
}

func address(ns *netlab.Namespace, i Interface) error {
	for _, p := range i.Addresses {
		if err := ns.AddAddress(i.Name, p); err != nil {
			return err
		}
	}
	return nil
}

// makeInternet connects the sites: through the core, of which every access link
// has half of the delay, or through a kernel that routes.
func (n *Network) makeInternet(observe func(netlab.Passage)) error {
	if n.Scenario.Wires() {
		return n.makeRouter()
	}
	core, err := netlab.NewCore(netlab.CoreConfig{Seed: uint64(time.Now().UnixNano()), Observe: observe, NoSpin: n.Scenario.NoSpin, Burst: n.Scenario.Burst})
	if err != nil {
		return err
	}
	n.core = core
	for _, e := range n.onInternet() {
		if err := n.attach(core, e, accessLink(n.Scenario.Link)); err != nil {
			return err
		}
	}
	return core.Start()
}

// accessLink is one of the two that a packet between two hosts crosses.
func accessLink(l Link) netlab.Link {
	return netlab.Link{Delay: l.Delay / 2, Jitter: l.Jitter / 2, Loss: halfLoss(l.Loss)}
}

func (n *Network) onInternet() []end {
	var list []end
	for _, node := range n.Scenario.Nodes {
		for _, i := range node.Interfaces {
			if i.Segment == internet {
				list = append(list, end{node.Name, i})
			}
		}
	}
	return list
}

// makeRouter is the internet without distance: one kernel with a wire to each
// site.
func (n *Network) makeRouter() error {
	router, err := netlab.New(internet)
	if err != nil {
		return err
	}
	n.wires = append(n.wires, router)
	if err := forward(router); err != nil {
		return err
	}
	for k, e := range n.onInternet() {
		if err := n.wire(router, fmt.Sprintf("site%d", k), e); err != nil {
			return err
		}
	}
	return nil
}

// wire connects a site to the routing kernel. The site's default gateway is
// the router's own address, which is on the link by decree (onlink).
func (n *Network) wire(router *netlab.Namespace, port string, e end) error {
	ns := n.namespaces[e.node]
	if err := netlab.Veth(router, port, ns, e.Name); err != nil {
		return err
	}
	if err := address(ns, e.Interface); err != nil {
		return err
	}
	// On every port, since neighbour discovery answers for a port's own only.
	for _, a := range []netip.Addr{internet4, internet6} {
		if err := router.AddAddress(port, netip.PrefixFrom(a, a.BitLen())); err != nil {
			return err
		}
	}
	for _, p := range e.Addresses {
		if err := router.AddRoute(p, netip.Addr{}, port); err != nil {
			return err
		}
	}
	for _, p := range e.Routed {
		if err := router.AddRoute(p, sameFamily(e.Addresses, p), port); err != nil {
			return err
		}
	}
	return defaultRoutes(ns, e)
}

func defaultRoutes(ns *netlab.Namespace, e end) error {
	if sameFamily(e.Addresses, default4).IsValid() {
		if err := ns.AddRoute(default4, internet4, e.Name); err != nil {
			return err
		}
	}
	if sameFamily(e.Addresses, default6).IsValid() {
		return ns.AddRoute(default6, internet6, e.Name)
	}
	return nil
}

// sameFamily is the first address of the family of p.
func sameFamily(list []netip.Prefix, p netip.Prefix) netip.Addr {
	for _, a := range list {
		if a.Addr().Is6() == p.Addr().Is6() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// makeRoutes gives the clients inside a site their gateways.
func (n *Network) makeRoutes() error {
	for _, node := range n.Scenario.Nodes {
		ns := n.namespaces[node.Name]
		if node.Gateway4.IsValid() {
			if err := ns.AddRoute(default4, node.Gateway4, node.Interfaces[0].Name); err != nil {
				return err
			}
		}
		if node.Gateway6.IsValid() {
			if err := ns.AddRoute(default6, node.Gateway6, node.Interfaces[0].Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// emulate makes the emulator of a node.
func (n *Network) emulate(node string) (netlab.Middlebox, error) {
	box, _ := n.Scenario.Node(node)
	e, err := newEmulator(node, *box.Box, n.feed.tell)
	if err != nil {
		return nil, err
	}
	n.emulators = append(n.emulators, e)
	return e, nil
}

// makeBoxes programs the kernel's filters and translators and listens to them.
func (n *Network) makeBoxes() error {
	for _, box := range n.Scenario.Boxes() {
		if box.Box.Engine != Netfilter {
			continue
		}
		ns := n.namespaces[box.Name]
		if err := program(ns, *box.Box, box.outside()); err != nil {
			return fmt.Errorf("%s: %w", box.Name, err)
		}
		l, err := openConnectionLog(box, ns, n.feed.tell)
		if err != nil {
			return fmt.Errorf("%s: %w", box.Name, err)
		}
		n.logs = append(n.logs, l)
	}
	return nil
}

// Mappings are all changes of the boxes' connection tables so far, by time.
func (n *Network) Mappings() []Mapping {
	var all []Mapping
	for _, l := range n.logs {
		all = append(all, since(l.snapshot(), n.began)...)
	}
	for _, e := range n.emulators {
		all = append(all, e.mappings()...)
	}
	sortByTime(all)
	return all
}

// unheard are the boxes of which the kernel could not deliver every event.
func (n *Network) unheard() (boxes []string) {
	for _, l := range n.logs {
		if l.incomplete() {
			boxes = append(boxes, l.box)
		}
	}
	return boxes
}

// Forget makes all boxes forget their connections, so that the next meeting
// finds them as they were when the network was built.
func (n *Network) Forget() error {
	for _, l := range n.logs {
		if err := forgetConnections(n.namespaces[l.box]); err != nil {
			return fmt.Errorf("%s: %w", l.box, err)
		}
		l.forget()
	}
	for _, e := range n.emulators {
		if err := e.forget(); err != nil {
			return err
		}
	}
	n.began = time.Now()
	return nil
}

// Unsolicited is how many TCP packets a box got that nobody inside asked for.
func (n *Network) Unsolicited(box string) (packets uint64, err error) {
	for _, e := range n.emulators {
		if e.name == box {
			return e.unsolicited(), nil
		}
	}
	ns, ok := n.namespaces[box]
	if !ok {
		return 0, fmt.Errorf("there is no box %s", box)
	}
	return countUnsolicited(ns)
}

// Lateness is how late the core forwarded at worst; 0 without a core.
func (n *Network) Lateness() netlab.Lateness {
	if n.core == nil {
		return netlab.Lateness{}
	}
	return n.core.Lateness()
}

// Close takes the network down. Nodes that still run are killed.
func (n *Network) Close() error {
	kernel.Lock()
	defer kernel.Unlock()
	return n.release()
}

func (n *Network) release() error {
	var errs []error
	for _, l := range n.logs {
		errs = append(errs, l.close())
	}
	for _, core := range append(n.segments, n.core) {
		if core != nil {
			errs = append(errs, core.Close())
		}
	}
	for _, ns := range n.namespaces {
		errs = append(errs, ns.Close())
	}
	for _, ns := range n.wires {
		errs = append(errs, ns.Close())
	}
	return errors.Join(errs...)
}
