package rawsock

import "net/netip"

// Rejection is an ICMP error that ended, or troubled, an open.
type Rejection struct {
	Type, Code uint8      // of RFC 792, or of RFC 4443 where the socket is one of IPv6
	From       netip.Addr // who said so; invalid where the kernel does not tell
}

// Exceeded reports whether the segment's hop limit ran out at a router: time
// exceeded in transit (RFC 792), hop limit exceeded (RFC 4443 section 3.3).
func (r Rejection) Exceeded() bool {
	return r.Code == 0 && (r.Type == 11 && r.From.Is4() || r.Type == 3 && r.From.Is6())
}
