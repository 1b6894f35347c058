package captures

import (
	"encoding/binary"
	"net/netip"
)

// Pseudonyms replace addresses by others, each always by the same one, in the
// order in which they come. What an address is for stays visible: a private one
// becomes a private one, a public one comes from the ranges for documentation
// (RFC 5737, RFC 3849) and, when those are used up, for benchmarks (RFC 2544).
// The zero value is ready.
type Pseudonyms struct {
	given map[netip.Addr]netip.Addr
	count map[netip.Prefix]uint32
}

var (
	documentation4 = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("198.18.0.0/15")}
	documentation6 = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
	carrierGrade   = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
)

// Of is the pseudonym of an address. Loopback, unspecified and multicast
// addresses say nothing about anybody and stay.
func (p *Pseudonyms) Of(a netip.Addr) netip.Addr {
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return a
	}
	a = a.WithZone("")
	if known, ok := p.given[a]; ok {
		return known
	}
	if p.given == nil {
		p.given, p.count = map[netip.Addr]netip.Addr{}, map[netip.Prefix]uint32{}
	}
	p.given[a] = p.next(ranges(a))
	return p.given[a]
}

func ranges(a netip.Addr) []netip.Prefix {
	switch {
	case a.Is4In6():
		return documentation6
	case a.Is4() && a.IsPrivate():
		return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	case carrierGrade.Contains(a):
		return []netip.Prefix{carrierGrade}
	case a.IsLinkLocalUnicast() && a.Is4():
		return []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")}
	case a.IsLinkLocalUnicast():
		return []netip.Prefix{netip.MustParsePrefix("fe80::/64")}
	case a.IsPrivate():
		return []netip.Prefix{netip.MustParsePrefix("fd00::/64")}
	case a.Is4():
		return documentation4
	}
	return documentation6
}

// next is the next free address of the first range that has one. The last range
// begins anew when it is used up: two addresses then share a pseudonym.
func (p *Pseudonyms) next(list []netip.Prefix) netip.Addr {
	for i, r := range list {
		room := uint32(1)<<min(31, r.Addr().BitLen()-r.Bits()) - 2
		if p.count[r] < room || i == len(list)-1 {
			n := p.count[r]%room + 1
			p.count[r]++
			return plus(r.Addr(), n)
		}
	}
	return netip.Addr{}
}

func plus(a netip.Addr, n uint32) netip.Addr {
	b := a.AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+n)
	sum, _ := netip.AddrFromSlice(b)
	return sum
}

func (p *Pseudonyms) end(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(p.Of(a.Addr()), a.Port())
}

// flow replaces the addresses in all that is known of a flow.
func (p *Pseudonyms) flow(f *flow) {
	low, high := f.key.low, f.key.high
	f.key.low, f.key.high = p.end(low), p.end(high)
	for i := range f.segments {
		p.segment(&f.segments[i])
	}
	isns := map[isnKey]bool{}
	for k := range f.isns {
		isns[isnKey{p.end(k.from), k.isn}] = true
	}
	f.isns = isns
}

func (p *Pseudonyms) segment(s *Segment) {
	s.From, s.To = p.end(s.From), p.end(s.To)
	s.Reporter = p.Of(s.Reporter)
}

// filter is the same choice among pseudonyms, or among addresses where p is nil.
// A host that was not met chooses nothing.
func (p *Pseudonyms) filter(f Filter) Filter {
	if p != nil && f.Host.IsValid() {
		f.Host = p.Of(f.Host.Unmap())
	}
	return f
}
