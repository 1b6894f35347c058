package predict

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

// A network is one host behind an allocator whose ports follow from a seed.
type network struct {
	alloc  *nat.Allocator
	now    time.Time
	config nat.Config
}

const probeSpacing = 30 * time.Millisecond

func newNetwork(t testing.TB, c nat.Config, rng *rand.Rand) *network {
	t.Helper()
	c.External = []netip.Addr{wan}
	c.Seed = rng.Uint64()
	if counts(c.Ports) {
		// A NAT that has been up for a while is anywhere in its range.
		if c.Delta >= 0 {
			c.Low = uint16(1024 + rng.IntN(40000))
		} else {
			c.High = uint16(65535 - rng.IntN(40000))
		}
	}
	a, err := nat.NewAllocator(c)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{alloc: a, now: start, config: c}
	n.alloc.Advance(n.now)
	return n
}

// observe makes n mappings of one port, as probes of as many servers do.
func (n *network) observe(t testing.TB, count int) []Observation {
	var obs []Observation
	for i := range count {
		server := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(1 + i/2)}), uint16(3478+i%2))
		outside, ok := n.take(local, server)
		if !ok {
			t.Fatal("no port left")
		}
		obs = append(obs, Observation{n.now, local, server, outside})
		n.now = n.now.Add(probeSpacing)
	}
	n.now = n.now.Add(-probeSpacing)
	return obs
}

func (n *network) take(inside, to netip.AddrPort) (netip.AddrPort, bool) {
	n.alloc.Advance(n.now)
	return n.alloc.Take(inside, to)
}

// burst makes count mappings towards the peer, a gap after the last one.
func (n *network) burst(gap time.Duration, count int) []uint16 {
	n.now = n.now.Add(gap)
	var ports []uint16
	for i := range count {
		outside, ok := n.take(netip.AddrPortFrom(local.Addr(), uint16(20000+2*i)), netip.AddrPortFrom(wan, 9))
		if !ok {
			break
		}
		ports = append(ports, outside.Port())
		n.now = n.now.Add(spacing)
	}
	return ports
}

// simulated is how many times the ordinary number of trials are run:
// TCPPUNCH_SIMULATION=full runs all that docs/benchmarks.md reports.
var simulated = func() int {
	if os.Getenv("TCPPUNCH_SIMULATION") == "full" {
		return 99
	}
	return 1
}()
