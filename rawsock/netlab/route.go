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

// with returns the table with further prefixes, each of which one port may have.
func (r routes) with(prefixes []netip.Prefix, port int) (routes, error) {
	added := slices.Clone(r)
	for _, p := range prefixes {
		p = p.Masked()
		if !p.IsValid() {
			return nil, fmt.Errorf("prefix %v is not valid", p)
		}
		if i := slices.IndexFunc(added, func(x route) bool { return x.prefix == p }); i >= 0 {
			if added[i].port != port {
				return nil, fmt.Errorf("%v is attached already", p)
			}
			continue
		}
		added = append(added, route{p, port})
	}
	slices.SortStableFunc(added, func(a, b route) int { return b.prefix.Bits() - a.prefix.Bits() })
	return added, nil
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
