package nat

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func allocator(t testing.TB, c Config) *Allocator {
	t.Helper()
	if c.External == nil {
		c.External = []netip.Addr{external}
	}
	a, err := NewAllocator(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// take opens n mappings of one host, from successive ports to one destination.
func take(t testing.TB, a *Allocator, host netip.Addr, n int) []uint16 {
	t.Helper()
	var ports []uint16
	for i := range n {
		outside, ok := a.Take(netip.AddrPortFrom(host, uint16(5000+i)), server)
		if !ok {
			t.Fatalf("no port for mapping %d", i)
		}
		ports = append(ports, outside.Port())
	}
	return ports
}

func spread(ports []uint16) (low, high uint16) {
	low, high = math.MaxUint16, 0
	for _, p := range ports {
		low, high = min(low, p), max(high, p)
	}
	return low, high
}

func distinct(t *testing.T, ports []uint16) {
	t.Helper()
	seen := map[uint16]bool{}
	for _, p := range ports {
		if seen[p] {
			t.Fatalf("port %d was given twice", p)
		}
		seen[p] = true
	}
}

var hostA, hostB = netip.MustParseAddr("192.168.0.2"), netip.MustParseAddr("192.168.0.3")

func TestPreservingAllocatorDrawsOnlyOnAClash(t *testing.T) {
	a := allocator(t, Config{Low: 50000, High: 50009})
	if got := take(t, a, hostA, 3); got[0] != 5000 || got[2] != 5002 {
		t.Errorf("got %v, want the inside ports", got)
	}
	if got := take(t, a, hostB, 1)[0]; got < 50000 || got > 50009 {
		t.Errorf("after a clash: got %d, want one of 50000 to 50009", got)
	}
}

func TestLowestAllocatorFillsHoles(t *testing.T) {
	a := allocator(t, Config{Ports: Lowest, Low: 2000})
	take(t, a, hostA, 200)
	a.Release(netip.AddrPortFrom(external, 2077), server)
	if got := take(t, a, hostA, 2); got[0] != 2077 || got[1] != 2200 {
		t.Errorf("got %v, want the hole 2077 and then 2200", got)
	}
}

func TestBandIsKeptByAnInsideAddress(t *testing.T) {
	a := allocator(t, Config{Ports: Band, Width: 251, Seed: 3})
	first := take(t, a, hostA, 250)
	distinct(t, first)
	low, high := spread(first)
	if high-low >= 251 {
		t.Errorf("the band reaches from %d to %d, want 251 ports", low, high)
	}
	if other := take(t, a, hostB, 1)[0]; other >= low && other <= high { // by chance 1 in 128
		t.Errorf("another host got %d of the band from %d to %d", other, low, high)
	}
	take(t, a, hostA, 1)
	if outside, ok := a.Take(netip.AddrPortFrom(hostA, 1), server); ok {
		t.Errorf("the full band gave %v", outside)
	}
}

func TestBlockBelongsToOneInsideAddressAndAnotherFollows(t *testing.T) {
	a := allocator(t, Config{Ports: Block, Width: 128, Low: 1024})
	first, other := take(t, a, hostA, 128), take(t, a, hostB, 128)
	distinct(t, append(first, other...))
	low, high := spread(first)
	if high-low != 127 || (low-1024)%128 != 0 {
		t.Errorf("the first block reaches from %d to %d, want one of 128 ports", low, high)
	}
	next := take(t, a, hostA, 1)[0]
	if next >= low && next <= high {
		t.Errorf("after a full block: got %d, want one outside of %d to %d", next, low, high)
	}
}

func TestParityIsKept(t *testing.T) {
	a := allocator(t, Config{Ports: Parity, Low: 1025, High: 1124})
	ports := take(t, a, hostA, 100)
	distinct(t, ports)
	for i, p := range ports {
		if int(p)%2 != i%2 {
			t.Fatalf("inside port %d got %d", 5000+i, p)
		}
	}
	if outside, ok := a.Take(netip.AddrPortFrom(hostA, 8), server); ok {
		t.Errorf("all are taken, got %v", outside)
	}
}

func TestRandomIsUniformOverItsRange(t *testing.T) {
	const n, rounds = 100, 20000
	a := allocator(t, Config{Ports: Random, Low: 3000, High: 3000 + n - 1, Seed: 7})
	counts := make([]float64, n)
	for range rounds {
		p := take(t, a, hostA, 1)[0]
		counts[p-3000]++
		a.Release(netip.AddrPortFrom(external, p), server)
	}
	chi := 0.0
	for _, c := range counts {
		chi += (c - rounds/n) * (c - rounds/n) / (rounds / n)
	}
	if chi > 149 { // 99.9 % of chi squared with 99 degrees of freedom
		t.Errorf("chi squared %.0f, want at most 149", chi)
	}
}

func TestSequentialSkipsWhatIsTaken(t *testing.T) {
	a := allocator(t, Config{Ports: Sequential, Delta: 4, Low: 4000, High: 4019})
	a.TakeExactly(netip.AddrPortFrom(external, 4004), server)
	if got := take(t, a, hostA, 3); got[0] != 4000 || got[1] != 4008 || got[2] != 4012 {
		t.Errorf("got %v, want 4000, 4008, 4012", got)
	}
	distinct(t, append(take(t, a, hostA, 16), 4000, 4004, 4008, 4012)) // though the step reaches five ports only
}

func TestPoolIsPairedOrArbitrary(t *testing.T) {
	pool := []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2"), netip.MustParseAddr("203.0.113.3")}
	for p, want := range map[Pooling]int{Paired: 1, Arbitrary: 3} {
		a := allocator(t, Config{External: pool, Pooling: p, Ports: Random, Seed: 1})
		seen := map[netip.Addr]bool{}
		for i := range 100 {
			outside, _ := a.Take(netip.AddrPortFrom(hostA, uint16(i+1)), server)
			seen[outside.Addr()] = true
		}
		if len(seen) != want {
			t.Errorf("%v: %d addresses, want %d", p, len(seen), want)
		}
	}
}

func TestOverloadedPortServesOneEndpointPerDestination(t *testing.T) {
	for overload, reused := range map[bool]bool{true: true, false: false} {
		a := allocator(t, Config{Overload: overload})
		outside, _ := a.Take(netip.AddrPortFrom(hostA, 5000), server)
		other, _ := a.Take(netip.AddrPortFrom(hostB, 5000), stranger)
		if got := outside == other; got != reused {
			t.Errorf("overload %v: the port was reused for another destination: %v", overload, got)
		}
		if third, _ := a.Take(netip.AddrPortFrom(hostB, 5000), server); third == outside {
			t.Errorf("overload %v: two endpoints share %v to one destination", overload, third)
		}
	}
}

func TestForeignTrafficMovesTheCounterAtItsRate(t *testing.T) {
	const lambda, rounds = 50.0, 2000
	for _, batch := range []float64{1, 4} {
		a := allocator(t, Config{Ports: Sequential, Churn: lambda, ChurnBatch: batch, ChurnLife: time.Second, Seed: 5})
		now := start
		a.Advance(now)
		var sum, squares float64
		last := take(t, a, hostA, 1)[0]
		for i := range rounds {
			now = now.Add(100 * time.Millisecond)
			a.Advance(now)
			outside, _ := a.Take(netip.AddrPortFrom(hostA, uint16(i+1)), server)
			n := float64((int(outside.Port()) - int(last) - 1 + 64512*2) % 64512)
			a.Release(outside, server)
			last = outside.Port()
			sum, squares = sum+n, squares+n*n
		}
		mean := sum / rounds
		variance := squares/rounds - mean*mean
		// A compound Poisson process with geometric batches of mean B has
		// variance over mean 2B−1.
		if math.Abs(mean-5) > .5 || math.Abs(variance/mean-(2*batch-1)) > .25*(2*batch-1) {
			t.Errorf("batches of %v: mean %.2f, variance/mean %.2f, want 5 and %.0f", batch, mean, variance/mean, 2*batch-1)
		}
	}
}

func TestForeignMappingsEnd(t *testing.T) {
	a := allocator(t, Config{Ports: Random, Churn: 100, ChurnLife: 2 * time.Second, Seed: 9})
	a.Advance(start)
	a.Advance(start.Add(time.Hour))
	if got := a.used[0].count; got < 120 || got > 280 {
		t.Errorf("%d foreign mappings live, want about 200", got)
	}
}

func TestPortSetAgreesWithASimpleOne(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var s portSet
	simple := map[uint16]bool{}
	for range 200000 {
		p := uint16(r.IntN(700) + 64*10) // so that whole words fill up
		if r.IntN(10) < 8 {
			s.add(p)
			simple[p] = true
		} else {
			s.remove(p)
			delete(simple, p)
		}
	}
	if s.count != len(simple) {
		t.Fatalf("%d members, want %d", s.count, len(simple))
	}
	for low := uint16(600); low < 1400; low += 7 {
		want := low
		for simple[want] {
			want++
		}
		if got, ok := s.missing(low, 65535); !ok || got != want {
			t.Fatalf("from %d: got %d, want %d", low, got, want)
		}
		if want > low {
			if got, ok := s.missing(low, want-1); ok {
				t.Fatalf("from %d to %d: got %d, want none", low, want-1, got)
			}
		}
	}
	for p := range 65536 {
		s.add(uint16(p))
	}
	if got, ok := s.missing(0, 65535); ok {
		t.Errorf("the full set misses %d", got)
	}
}

func BenchmarkAllocator(b *testing.B) {
	for _, ports := range []string{"preserve", "sequential:1", "lowest", "random", "band:251", "block:512", "parity"} {
		b.Run(ports, func(b *testing.B) {
			c := Config{External: []netip.Addr{external}}
			if err := c.Set("ports", ports); err != nil {
				b.Fatal(err)
			}
			a := allocator(b, c)
			ring := make([]netip.AddrPort, 200)
			for i := 0; b.Loop(); i++ {
				a.Release(ring[i%len(ring)], server)
				ring[i%len(ring)], _ = a.Take(netip.AddrPortFrom(hostA, uint16(i)|1), server)
			}
		})
	}
}
