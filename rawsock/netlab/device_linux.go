package netlab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h: no link-local
// address, and so none of the multicast noise that comes with one.
const addrGenModeNone = 1

func (c *Core) openDevice(p *port) (device, error) {
	d, err := c.makeDevice(p)
	if err != nil {
		return nil, err
	}
	if err := p.Namespace.withHandle(func(h handle) error { return h.furnish(p.PortConfig, p.index) }); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (c *Core) makeDevice(p *port) (device, error) {
	switch p.Device {
	case TUN:
		return openTUN(p.PortConfig)
	case Packet:
		return c.openPacket(p)
	case Auto:
		d, err := openTUN(p.PortConfig)
		if err == nil {
			return d, nil
		}
		e, err2 := c.openPacket(p)
		if err2 != nil {
			return nil, errors.Join(err, err2)
		}
		return e, nil
	}
	return nil, fmt.Errorf("unknown device kind %v", p.Device)
}

// furnish sets the device up with its addresses and default routes through its
// access router. One gateway means one neighbour entry, of which a machine has
// only 1024 in all its namespaces (gc_thresh3 of arp(7)).
func (h handle) furnish(p PortConfig, index int) error {
	link, err := h.LinkByName(p.Name)
	if err != nil {
		return fmt.Errorf("link %s: %w", p.Name, err)
	}
	if err := h.quieten(link); err != nil {
		return err
	}
	if err := h.LinkSetTxQLen(link, queueLength); err != nil {
		return fmt.Errorf("set queue length of %s: %w", p.Name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set link %s up: %w", p.Name, err)
	}
	if link.Type() == "veth" { // a TUN device has its carrier from the beginning
		if err := h.carries(p.Name); err != nil {
			return err
		}
	}
	for _, a := range p.Addresses {
		if err := h.addAddress(p.Name, a); err != nil {
			return err
		}
	}
	return h.addDefaultRoutes(p, index)
}

// quieten keeps a link that is still down from having a link-local address.
func (h handle) quieten(link netlink.Link) error {
	err := h.LinkSetIP6AddrGenMode(link, addrGenModeNone)
	if err == nil || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) { // no IPv6, no noise
		return nil
	}
	return fmt.Errorf("set address generation of %s: %w", link.Attrs().Name, err)
}

func (h handle) addDefaultRoutes(p PortConfig, index int) error {
	var done [2]bool
	for _, r := range p.Routed {
		if r.Bits() == 0 {
			done[family(r)] = true
		}
	}
	for _, a := range p.Addresses {
		f, all := family(a), netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if f == 1 {
			all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		if done[f] {
			continue
		}
		done[f] = true
		if err := h.addRoute(all, accessRouter(index, f == 1), p.Name); err != nil {
			return err
		}
	}
	return nil
}

// family is 0 for IPv4 and 1 for IPv6.
func family(p netip.Prefix) int {
	if p.Addr().Is6() {
		return 1
	}
	return 0
}

// cableToCore makes the veth pair of a Packet device. Its near end resolves no
// neighbours: the kernel then uses the link's own address as destination.
func (c *Core) cableToCore(p PortConfig, far string) error {
	if err := cable(p.Namespace, p.Name, c.backstage, far); err != nil {
		return err
	}
	return errors.Join(
		p.Namespace.withHandle(func(h handle) error { return h.arpOff(p.Name) }),
		c.backstage.withHandle(func(h handle) error { return h.quietUp(far) }))
}

func (h handle) arpOff(name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if err := h.LinkSetARPOff(link); err != nil {
		return fmt.Errorf("set link %s noarp: %w", name, err)
	}
	return nil
}

func (h handle) quietUp(name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	if err := h.quieten(link); err != nil {
		return err
	}
	return h.up(name)
}

func (h handle) hardwareAddress(name string) ([6]byte, int, error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return [6]byte{}, 0, fmt.Errorf("link %s: %w", name, err)
	}
	a := link.Attrs()
	if len(a.HardwareAddr) != 6 {
		return [6]byte{}, 0, fmt.Errorf("link %s has no Ethernet address", name)
	}
	return [6]byte(a.HardwareAddr), a.Index, nil
}

func (h handle) remove(name string) error {
	link, err := h.LinkByName(name)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil
	}
	if err != nil {
		return err
	}
	return h.LinkDel(link)
}
