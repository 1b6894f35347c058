package netlab

import (
	"net/netip"
	"os/exec"
)

// Namespace is a network namespace held by a file descriptor and one thread,
// never by a name: when the process ends, however it ends, nothing stays.
type Namespace struct {
	name   string
	fd     int
	keeper *keeper // nil for Current
}

// New makes a namespace with its loopback up. The name is for messages only.
// Its IPv6 does without duplicate address detection, router solicitations and
// advertisements, and reverse path filters are off, whatever the host's defaults.
func New(name string) (*Namespace, error) { return newNamespace(name) }

// Current returns the namespace of the calling thread.
func Current() (*Namespace, error) { return currentNamespace() }

// Name returns the name given to New.
func (n *Namespace) Name() string { return n.name }

// FD returns the descriptor of the namespace, valid until Close. Libraries that
// take one may look for the calling thread under /proc and then fail in a pid
// namespace whose /proc was not remounted; opening their socket inside Do works
// always.
func (n *Namespace) FD() int { return n.fd }

// Close lets go of the namespace. Children started by Start are killed by it,
// unless their Pdeathsig was set otherwise.
func (n *Namespace) Close() error { return n.close() }

// Do runs f on a thread of its own inside the namespace. What f opens stays in
// the namespace; f must not hand work to other goroutines, since these run
// outside.
func (n *Namespace) Do(f func() error) error { return n.do(f) }

// Start starts a child inside the namespace, from a thread that lives as long
// as the namespace. Unless cmd.SysProcAttr says otherwise, the child is killed
// when this process ends, however it ends.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.start(cmd) }

// Sysctl sets a variable of the namespace, such as "net.ipv4.ip_forward". It
// needs a writable /proc/sys. In a key whose parts contain dots (a device such
// as eth0.1), write a slash instead, as sysctl(8) does.
func (n *Namespace) Sysctl(key, value string) error { return n.sysctl(key, value) }

// AddAddress gives a link an address, usable at once: IPv6 does without
// duplicate address detection.
func (n *Namespace) AddAddress(link string, p netip.Prefix) error { return n.addAddress(link, p) }

// AddRoute adds a route through a gateway, or, with the zero Addr, to what is
// on the link. The link may be empty if the gateway is on a known link.
func (n *Namespace) AddRoute(dst netip.Prefix, via netip.Addr, link string) error {
	return n.addRoute(dst, via, link)
}

// Veth connects two namespaces, which may be the same, by a cable: both ends are
// up, with checksum and segmentation offloads off, so that captures show
// packets as they would be on a wire.
func Veth(a *Namespace, aName string, b *Namespace, bName string) error {
	return veth(a, aName, b, bName)
}

// Bridge makes a switch out of links in a namespace. It forwards at once,
// without spanning tree and without multicast snooping. Members must be up and
// connected at their other end; without members it has no carrier yet.
func Bridge(n *Namespace, name string, members ...string) error { return bridge(n, name, members) }
