package netlab_test

import (
	"net/netip"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"

	"golang.org/x/sys/unix"
)

// BenchmarkForward sends datagrams through the core as fast as it takes them,
// with no more than a few hundred on the way.
func BenchmarkForward(b *testing.B) {
	for _, k := range []netlab.DeviceKind{netlab.TUN, netlab.Packet} {
		b.Run(k.String(), func(b *testing.B) {
			n := newNetworkWith(b, k, netlab.Link{}, netlab.CoreConfig{}, false)
			blast(b, n, b.N, 0)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
		})
	}
}

// BenchmarkLateness sends a datagram every millisecond over 20 ms.
func BenchmarkLateness(b *testing.B) {
	for _, k := range []netlab.DeviceKind{netlab.TUN, netlab.Packet} {
		b.Run(k.String(), func(b *testing.B) {
			n := newNetworkWith(b, k, netlab.Link{Delay: 10 * time.Millisecond}, netlab.CoreConfig{}, false)
			blast(b, n, b.N, 1)
			l := n.core.Lateness()
			b.ReportMetric(float64(l.P50.Microseconds()), "p50-µs")
			b.ReportMetric(float64(l.P99.Microseconds()), "p99-µs")
			b.ReportMetric(float64(l.Max.Microseconds()), "max-µs")
		})
	}
}

// blast sends packets to the discard port of b; pause is in milliseconds.
func blast(b *testing.B, n *network, packets, pause int) {
	const window = 256
	to := netip.AddrPortFrom(b4.Addr(), 9)
	sink(b, n.b)
	source := send(b, n.a, to, 64)
	b.ResetTimer()
	for sent := 1; sent < packets; sent++ {
		if err := source.send(to); err != nil {
			b.Fatal(err)
		}
		if pause > 0 {
			unix.Poll(nil, pause)
		}
		for pause == 0 && sent%window == 0 && n.core.Lateness().Delivered+window < uint64(sent) {
			unix.Poll(nil, 0)
		}
	}
	eventually(b, func() bool { return n.core.Lateness().Delivered >= uint64(packets) })
	b.StopTimer()
}
