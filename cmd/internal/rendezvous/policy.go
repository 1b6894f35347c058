package rendezvous

import (
	"fmt"
	"net/netip"
	"slices"
)

// Class is what an address is for, after the IANA special-purpose registries
// (RFC 6890 and its updates).
type Class string

// The classes. All that is not named by the first five is forbidden.
const (
	Global    Class = "global"
	Private   Class = "private"  // RFC 1918, RFC 4193
	Shared    Class = "shared"   // 100.64/10, RFC 6598
	Test      Class = "test"     // RFC 5737, 2544, 3849, 9637
	Loopback  Class = "loopback" // RFC 1122, 4291
	Forbidden Class = "forbidden"
)

type classified struct {
	prefix netip.Prefix
	class  Class
}

func in(class Class, prefixes ...string) []classified {
	var list []classified
	for _, p := range prefixes {
		list = append(list, classified{netip.MustParsePrefix(p), class})
	}
	return list
}

// The first matching prefix decides. Sources: the IANA IPv4 and IPv6
// Special-Purpose Address Registries; multicast RFC 5771 and RFC 4291.
var classes = slices.Concat(
	in(Private, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
	in(Shared, "100.64.0.0/10"),
	in(Test, "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "2001:db8::/32", "3fff::/20"),
	in(Loopback, "127.0.0.0/8", "::1/128"),
	in(Forbidden, "0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.31.196.0/24", "192.52.193.0/24",
		"192.88.99.0/24", "192.175.48.0/24", "224.0.0.0/4", "240.0.0.0/4"),
	in(Forbidden, "2001::/23", "2620:4f:8000::/48"),
	in(Global, "0.0.0.0/0", "2000::/3"),
	in(Forbidden, "::/0"),
)

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// ClassOf classifies an address. An IPv4 address inside an IPv6 one is
// classified as itself.
func ClassOf(addr netip.Addr) Class {
	if !addr.IsValid() || addr.Zone() != "" {
		return Forbidden
	}
	addr = embedded(addr.Unmap())
	for _, c := range classes {
		if c.prefix.Contains(addr) {
			return c.class
		}
	}
	return Forbidden
}

func embedded(addr netip.Addr) netip.Addr {
	raw := addr.As16()
	switch {
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(raw[12:16]))
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(raw[2:6]))
	}
	return addr
}

// Policy decides which addresses a stranger's message may make this host dial.
type Policy struct {
	Coordinator netip.Addr     // the address at which the coordinator was reached
	OnLink      []netip.Prefix // the networks of this host's own interfaces
}

// Reflexive allows a peer's server-reflexive address. A global one always; of
// another class only where the coordinator, which the user named, was itself
// reached at an address of that class. Campus networks and labs thus work
// without a switch, and a public coordinator cannot aim inward.
func (p Policy) Reflexive(addr netip.Addr) error {
	class := ClassOf(addr)
	if class == Forbidden || class != Global && class != ClassOf(p.Coordinator) {
		return fmt.Errorf("the peer's address %s is %s, and the coordinator was reached at %s (%s): not dialled",
			addr, class, p.Coordinator, ClassOf(p.Coordinator))
	}
	return nil
}

// Host allows a peer's host address: only on a network of this host's own.
func (p Policy) Host(addr netip.Addr) error {
	class := ClassOf(addr)
	onLink := slices.ContainsFunc(p.OnLink, func(n netip.Prefix) bool { return n.Contains(addr) })
	switch {
	case class == Forbidden, class == Loopback && ClassOf(p.Coordinator) != Loopback:
		return fmt.Errorf("the peer's host address %s is %s: not dialled", addr, class)
	case !onLink && class != Loopback:
		return fmt.Errorf("the peer's host address %s is on none of this host's networks: not dialled", addr)
	}
	return nil
}
