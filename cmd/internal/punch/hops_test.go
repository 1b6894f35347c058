package punch

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// way are the routers' addresses from the nearest on; "" is a silent one.
func way(addresses ...string) (hops []Hop) {
	for i, a := range addresses {
		h := Hop{TTL: i + 1}
		if a != "" {
			h.From = pointer(netip.MustParseAddr(a))
		}
		hops = append(hops, h)
	}
	return hops
}

func TestADyingSYNPassesEveryNATThatAddressesTell(t *testing.T) {
	for _, c := range []struct {
		name    string
		hops    []Hop
		outside string
		ttl     int
		known   bool
	}{
		{"nothing is known", nil, "203.0.113.1", 2, false},
		{"nobody answered", way("", "", ""), "203.0.113.1", 2, false},
		{"a home", way("192.168.1.1", "198.18.0.1"), "203.0.113.1", 2, true},
		{"a home behind a carrier", way("192.168.1.1", "100.64.0.1", "198.18.0.1"), "203.0.113.1", 3, true},
		{"routers on the way to the NAT", way("10.1.0.1", "10.2.0.1", "10.3.0.1", "198.18.0.1"), "203.0.113.1", 4, true},
		{"a silent carrier", way("192.168.1.1", "", "", "198.18.0.1"), "203.0.113.1", 4, true},
		{"silent routers as far as the first one outside", way("", "", "198.18.0.1"), "203.0.113.1", 3, true},
		{"silence outside", way("192.168.1.1", "100.64.0.1", "", "", ""), "203.0.113.1", 3, true},
		{"the server is next to the carrier", way("192.168.1.1", "100.64.0.1"), "203.0.113.1", 3, true},
		{"a NAT that answers from outside", way("192.168.1.1", "203.0.113.1", "198.18.0.1"), "203.0.113.1", 3, true},
		{"no NAT that addresses show", way("198.18.0.9", "198.18.0.1"), "203.0.113.1", 2, false},
		{"a link to the carrier's translator", way("192.168.1.1", "192.0.0.1", "198.18.0.1"), "203.0.113.1", 3, true},
		{"servers inside of a campus", way("192.168.1.1", "10.0.0.1", "10.0.1.1"), "10.9.9.9", 2, false},
		{"the NAT answers from inside of a campus", way("192.168.1.1", "10.9.9.9", "10.0.1.1"), "10.9.9.9", 3, true},
	} {
		if ttl, known := passing(c.hops, netip.MustParseAddr(c.outside)); ttl != c.ttl || known != c.known {
			t.Errorf("%s: got %d, known %v, want %d, %v", c.name, ttl, known, c.ttl, c.known)
		}
	}
}

// walkOf walks through routers that take so long to answer; a negative time is
// for ever, and behind the last one is the server.
func walkOf(t *testing.T, addresses []string, after []time.Duration) (hops []Hop, took time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &walk{cancel: cancel, over: make(chan struct{})}
	began := time.Now()
	go w.run(ctx, func(ctx context.Context, ttl int) (netip.Addr, error) {
		if ttl > len(addresses) {
			return netip.Addr{}, nil
		}
		if after[ttl-1] < 0 {
			<-ctx.Done()
			return netip.Addr{}, ctx.Err()
		}
		select {
		case <-time.After(after[ttl-1]):
			return netip.MustParseAddr(addresses[ttl-1]), nil
		case <-ctx.Done():
			return netip.Addr{}, ctx.Err()
		}
	})
	<-w.over
	took = time.Since(began)
	w.end()
	return w.hops, took
}

func TestAWalkEndsAtTheFirstRouterOutside(t *testing.T) {
	const home, carrier, outside = "192.168.1.1", "100.64.0.1", "198.18.0.1"
	const silent = -1
	for _, c := range []struct {
		name      string
		addresses []string
		after     []time.Duration
		ttl       int
		atMost    time.Duration
	}{
		{"all answer", []string{home, carrier, outside, outside}, []time.Duration{1, 2, 3, 4}, 3, hopPace},
		{"a silent one costs a pace", []string{home, carrier, outside}, []time.Duration{0, silent, 0}, 3, hopPace},
		{"a late one counts", []string{home, carrier, outside}, []time.Duration{0, 5 * hopPace, 6 * hopPace}, 3, 8 * hopPace},
		{"the server ends it", []string{home}, []time.Duration{0}, 2, hopPace},
		{"none answers", make([]string, 20), []time.Duration{0: silent, 19: 0}, 2, mostHops*hopPace + beforeRetransmission},
	} {
		synctest.Test(t, func(t *testing.T) {
			if c.name == "none answers" {
				for i := range c.after {
					c.after[i] = silent
				}
			}
			hops, took := walkOf(t, c.addresses, c.after)
			if ttl, _ := passing(hops, netip.MustParseAddr("203.0.113.1")); ttl != c.ttl || took > c.atMost {
				t.Errorf("%s: got a TTL of %d after %v, want %d within %v", c.name, ttl, took, c.ttl, c.atMost)
			}
		})
	}
}

func TestAWalkEndsWhenItIsNotWaitedForAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &walk{cancel: cancel, over: make(chan struct{})}
		var asked atomic.Int32
		go w.run(ctx, func(ctx context.Context, ttl int) (netip.Addr, error) {
			asked.Add(1)
			<-ctx.Done()
			return netip.Addr{}, errors.New("cancelled")
		})
		synctest.Wait()
		began := time.Now()
		w.end()
		if took := time.Since(began); took != walkLeft || int(asked.Load()) != w.sent || w.sent != int(walkLeft/hopPace)+1 {
			t.Errorf("it took %v and %d of %d SYNs, want %v and one a pace", took, asked.Load(), w.sent, walkLeft)
		}
	})
}

func TestTheUsersTTLGoesBeforeTheRouters(t *testing.T) {
	m := &meeting{cfg: Config{LowTTL: 7}, hops: way("192.168.1.1", "100.64.0.1", "198.18.0.1")}
	m.report.Reflexive = pointer(netip.MustParseAddrPort("203.0.113.1:4000"))
	peer4, peer6 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")
	if got := m.dyingTTL(peer4); got != 7 || m.report.LowTTL.Basis != TTLGiven {
		t.Errorf("got %d, %s, want 7, given", got, m.report.LowTTL.Basis)
	}
	m.cfg.LowTTL = 0
	if got := m.dyingTTL(peer4); got != 3 || m.report.LowTTL.Basis != TTLProbed {
		t.Errorf("got %d, %s, want 3, probed", got, m.report.LowTTL.Basis)
	}
	if got := m.dyingTTL(peer6); got != lowTTLHops || m.report.LowTTL.Basis != TTLAssumed {
		t.Errorf("over IPv6 got %d, %s, want %d, assumed", got, m.report.LowTTL.Basis, lowTTLHops)
	}
}
