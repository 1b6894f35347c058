package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// queueLength of every link: 500, the default of TUN, lost 9 % of a burst of
// 10 000 SYNs.
const queueLength = 10000

// handle is a route netlink socket inside a namespace.
type handle struct{ *netlink.Handle }

// withHandle opens the socket on a thread inside the namespace, because the
// library's own way there looks for the thread's number under /proc.
func (n *Namespace) withHandle(f func(handle) error) error {
	var h handle
	err := n.do(func() (err error) {
		h.Handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return fmt.Errorf("open netlink in namespace %s: %w", n.name, err)
	}
	defer h.Close()
	return f(h)
}

func (h handle) up(name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	return nil
}

func (n *Namespace) addAddress(name string, p netip.Prefix) error {
	return n.withHandle(func(h handle) error {
		if err := h.addAddress(name, p); err != nil || p.Addr().Is4() {
			return err
		}
		if link, err := h.LinkByName(name); err == nil && link.Type() == "veth" && link.Attrs().RawFlags&unix.IFF_UP != 0 {
			h.awaitLinkLocal(link)
		}
		return nil
	})
}

func (h handle) addAddress(name string, p netip.Prefix) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("add address %v: link %s: %w", p, name, err)
	}
	address := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		address.Flags = unix.IFA_F_NODAD
	}
	if err := h.AddrAdd(link, address); err != nil {
		return fmt.Errorf("add address %v to %s: %w", p, name, err)
	}
	if p.Addr().Is6() && link.Attrs().RawFlags&unix.IFF_UP != 0 {
		h.awaitLocal(link, p.Addr())
	}
	return nil
}

// localWait bounds the wait for an address that may never become local, such as
// one on a link without carrier.
const localWait = 200 * time.Millisecond

// awaitLocal waits until an IPv6 address of a link is in use. The kernel accepts
// it at once, but joins its solicited-node group and adds its local route from a
// work queue (addrconf_dad_start in net/ipv6/addrconf.c); what comes before that
// is lost, and neighbours or SYNs come again only after a second.
func (h handle) awaitLocal(link netlink.Link, a netip.Addr) {
	await(func() bool { return h.hasLocalRoute(link, a) })
}

// awaitLinkLocal waits until a link has the address from which a router asks for
// its neighbours there; without it the kernel does not ask (ndisc_send_ns in
// net/ipv6/ndisc.c).
func (h handle) awaitLinkLocal(link netlink.Link) {
	await(func() bool { return h.hasLinkLocal(link) })
}

func await(done func() bool) {
	for deadline := time.Now().Add(localWait); time.Now().Before(deadline) && !done(); time.Sleep(100 * time.Microsecond) {
	}
}

// hasLocalRoute looks on this very link: others may have the same address.
func (h handle) hasLocalRoute(link netlink.Link, a netip.Addr) bool {
	wanted := &netlink.Route{Table: unix.RT_TABLE_LOCAL, LinkIndex: link.Attrs().Index, Dst: ipNet(netip.PrefixFrom(a, a.BitLen()))}
	routes, err := h.RouteListFiltered(netlink.FAMILY_V6, wanted, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
	return err == nil && len(routes) > 0
}

func (h handle) hasLinkLocal(link netlink.Link) bool {
	list, err := h.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return false
	}
	for _, a := range list {
		if a.IP.IsLinkLocalUnicast() {
			return a.Flags&unix.IFA_F_TENTATIVE == 0
		}
	}
	return false
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (n *Namespace) addRoute(dst netip.Prefix, via netip.Addr, name string) error {
	return n.withHandle(func(h handle) error { return h.addRoute(dst, via, name) })
}

func (h handle) addRoute(dst netip.Prefix, via netip.Addr, name string) error {
	r := &netlink.Route{Dst: ipNet(dst.Masked()), Scope: netlink.SCOPE_UNIVERSE}
	if name != "" {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("add route %v: link %s: %w", dst, name, err)
		}
		r.LinkIndex = link.Attrs().Index
	}
	switch {
	case via.IsValid():
		r.Gw = via.AsSlice()
		if name != "" {
			r.Flags = int(netlink.FLAG_ONLINK)
		}
	case dst.Addr().Is4():
		r.Scope = netlink.SCOPE_LINK
	}
	if err := h.RouteAdd(r); err != nil {
		return fmt.Errorf("add route %v via %v on %s: %w", dst, via, name, err)
	}
	return nil
}

func veth(a *Namespace, aName string, b *Namespace, bName string) error {
	if err := cable(a, aName, b, bName); err != nil {
		return err
	}
	return errors.Join(a.up(aName), b.up(bName), a.carries(aName), b.carries(bName))
}

// cable connects two namespaces without setting the links up, with both ends
// like a plain wire.
func cable(a *Namespace, aName string, b *Namespace, bName string) error {
	err := a.withHandle(func(h handle) error { return h.addVeth(aName, bName, b.fd) })
	if err != nil {
		return fmt.Errorf("veth %s:%s to %s:%s: %w", a.name, aName, b.name, bName, err)
	}
	return errors.Join(a.plain(aName), b.plain(bName))
}

func (n *Namespace) plain(name string) error {
	if err := n.do(func() error { return offloadsOff(name) }); err != nil {
		return fmt.Errorf("turn offloads of %s:%s off: %w", n.name, name, err)
	}
	return nil
}

func (n *Namespace) up(name string) error {
	return n.withHandle(func(h handle) error { return h.up(name) })
}

func (h handle) addVeth(name, peer string, peerNamespace int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.TxQLen = name, queueLength
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerTxQLen, v.PeerNamespace = peer, queueLength, netlink.NsFd(peerNamespace)
	return h.LinkAdd(v)
}

// carrierWait is how long a link may take until it carries packets; the kernel
// normally needs a few milliseconds, and one second when it rations link events
// (net/core/link_watch.c).
const carrierWait = 3 * time.Second

// carries waits until a link is operational. Before that the kernel drops what
// is sent on it without a word, which costs the first SYN and so one second.
func (n *Namespace) carries(name string) error {
	err := n.withHandle(func(h handle) error { return h.carries(name) })
	if err != nil {
		return fmt.Errorf("in namespace %s: %w", n.name, err)
	}
	return nil
}

func (h handle) carries(name string) error {
	for deadline := time.Now().Add(carrierWait); ; time.Sleep(100 * time.Microsecond) {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("link %s has no carrier after %v", name, carrierWait)
		}
	}
}

// bridge forwards at once because spanning tree is off, as it is by default:
// a port then goes from blocking straight to forwarding (net/bridge/br_stp_if.c).
func bridge(n *Namespace, name string, members []string) error {
	err := n.withHandle(func(h handle) error {
		snooping := false
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.TxQLen = name, queueLength
		b := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
		if err := h.LinkAdd(b); err != nil {
			return err
		}
		for _, m := range members {
			if err := h.enslave(m, b); err != nil {
				return err
			}
		}
		return h.up(name)
	})
	if err == nil && len(members) > 0 {
		err = n.carries(name)
	}
	if err != nil {
		return fmt.Errorf("bridge %s:%s: %w", n.name, name, err)
	}
	return nil
}

func (h handle) enslave(member string, master netlink.Link) error {
	link, err := h.LinkByName(member)
	if err != nil {
		return fmt.Errorf("link %s: %w", member, err)
	}
	if err := h.LinkSetMaster(link, master); err != nil {
		return fmt.Errorf("add %s: %w", member, err)
	}
	return nil
}
