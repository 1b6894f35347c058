package netlab_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"

	"golang.org/x/sys/unix"
)

// BenchmarkForward sends datagrams through the core as fast as it takes them,
// with no more than a few hundred on the way.
func BenchmarkForward(b *testing.B) {
	for _, k := range []netlab.DeviceKind{netlab.TUN, netlab.Packet} {
		for name, box := range map[string]func() netlab.Middlebox{"open": nil, "boxes": newBump} {
			b.Run(k.String()+"/"+name, func(b *testing.B) {
				n := newNetworkBehind(b, k, netlab.Link{}, box)
				before, err := n.core.CPUTime()
				if err != nil {
					b.Fatal(err)
				}
				blast(b, n, b.N, 0)
				after, err := n.core.CPUTime()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
				b.ReportMetric(float64(b.N)/(after-before).Seconds(), "packets/CPU-s")
			})
		}
	}
}

// newNetworkBehind is a network whose hosts have a middlebox each, if any.
func newNetworkBehind(t testing.TB, k netlab.DeviceKind, link netlab.Link, box func() netlab.Middlebox) *network {
	t.Helper()
	n := &network{a: netlabtest.Namespace(t, "a"), b: netlabtest.Namespace(t, "b"), core: newCore(t, netlab.CoreConfig{})}
	for i, host := range []*netlab.Namespace{n.a, n.b} {
		p := netlab.PortConfig{Namespace: host, Name: "eth0", Addresses: []netip.Prefix{[]netip.Prefix{a4, b4}[i]}, Link: link, Device: k}
		if box != nil {
			p.Routed, p.Middlebox = p.Addresses, box()
		}
		attach(t, n.core, p)
	}
	if err := n.core.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestForwardingAllocatesNothing(t *testing.T) {
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		for name, box := range map[string]func() netlab.Middlebox{"open": nil, "boxes": newBump} {
			n := newNetworkBehind(t, k, netlab.Link{Delay: 10 * time.Millisecond}, box)
			receiver(t, n.b)
			number(t, n.a, b4.Addr(), 1000, 100) // buffers are made for these
			eventually(t, func() bool { return n.core.Lateness().Delivered == 1000 })
			before, after := new(runtime.MemStats), new(runtime.MemStats)
			runtime.ReadMemStats(before)
			number(t, n.a, b4.Addr(), 100, 100)
			eventually(t, func() bool { return n.core.Lateness().Delivered == 1100 })
			runtime.ReadMemStats(after)
			// The test itself makes a socket, on a thread of its own.
			if got := after.Mallocs - before.Mallocs; got > 70 {
				t.Errorf("%s: got %d allocations while 100 packets passed, want only those of the test", name, got)
			}
		}
	})
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
