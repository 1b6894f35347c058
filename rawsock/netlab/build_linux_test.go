package netlab_test

import (
	"net/netip"
	"testing"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// BenchmarkLab builds and closes what a lab consists of: six namespaces on a
// core, and two behind cables.
func BenchmarkLab(b *testing.B) {
	netlabtest.Require(b)
	for _, k := range []netlab.DeviceKind{netlab.TUN, netlab.Packet} {
		b.Run(k.String(), func(b *testing.B) {
			var closing float64
			for range b.N {
				core, spaces := buildLab(b, k)
				start := b.Elapsed()
				if err := core.Close(); err != nil {
					b.Fatal(err)
				}
				for _, n := range spaces {
					if err := n.Close(); err != nil {
						b.Fatal(err)
					}
				}
				closing += (b.Elapsed() - start).Seconds()
			}
			b.ReportMetric(closing/float64(b.N)*1e3, "ms-to-close")
		})
	}
}

func buildLab(b *testing.B, k netlab.DeviceKind) (*netlab.Core, []*netlab.Namespace) {
	b.Helper()
	core, err := netlab.NewCore(netlab.CoreConfig{})
	if err != nil {
		b.Fatal(err)
	}
	var spaces []*netlab.Namespace
	add := func(name string) *netlab.Namespace {
		n, err := netlab.New(name)
		if err != nil {
			b.Fatal(err)
		}
		spaces = append(spaces, n)
		return n
	}
	for i := range 6 {
		n := add("host")
		address := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 32)
		if err := core.Attach(netlab.PortConfig{Namespace: n, Name: "wan", Addresses: []netip.Prefix{address}, Device: k}); err != nil {
			b.Fatal(err)
		}
		if i < 2 {
			if err := netlab.Veth(n, "lan", add("client"), "eth0"); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := core.Start(); err != nil {
		b.Fatal(err)
	}
	return core, spaces
}
