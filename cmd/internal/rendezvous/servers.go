package rendezvous

import (
	"context"
	"net"
	"net/netip"
	"slices"
)

// Servers resolves the STUN servers that the coordinator named; an empty host
// is the coordinator itself. lost are those that cannot be found.
func (c *Client) Servers(ctx context.Context, w Welcome) (list []netip.AddrPort, lost []string) {
	for _, server := range w.STUN {
		host, port, err := net.SplitHostPort(server)
		if err != nil {
			continue
		}
		if host == "" {
			host = c.Remote().Addr().String()
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		number, portErr := net.DefaultResolver.LookupPort(ctx, "tcp", port)
		if err != nil || portErr != nil {
			lost = append(lost, server)
			continue
		}
		for _, a := range addrs {
			list = append(list, netip.AddrPortFrom(a.Unmap(), uint16(number)))
		}
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list), lost
}
