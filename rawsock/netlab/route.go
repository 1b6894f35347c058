package netlab

import (
	"fmt"
	"net/netip"
	"slices"
)

// routes is a forwarding table: longest prefix first, each to one port.
type routes []route

type route struct {
	prefix netip.Prefix
	port   int
}

func (r *routes) add(prefixes []netip.Prefix, port int) error {
	added := slices.Clone(*r)
	for _, p := range prefixes {
		p = p.Masked()
		if !p.IsValid() {
			return fmt.Errorf("prefix %v is not valid", p)
		}
		if i := slices.IndexFunc(added, func(x route) bool { return x.prefix == p }); i >= 0 {
			if added[i].port != port {
				return fmt.Errorf("%v is attached already", p)
			}
			continue
		}
		added = append(added, route{p, port})
	}
	slices.SortStableFunc(added, func(a, b route) int { return b.prefix.Bits() - a.prefix.Bits() })
	*r = added
	return nil
}

// find returns the port of a destination, or -1.
func (r routes) find(dst netip.Addr) int {
	for _, x := range r {
		if x.prefix.Contains(dst) {
			return x.port
		}
	}
	return -1
}
