package punch

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict"
	"tcppunch/timing"
)

// TestTheSideThatWaitsHearsTheOtherOneAtOnce: whatever the clocks are apart, the
// other side's SYN in earnest may come as soon as this one's has left. Only where
// no NAT is on the way does it stay deaf to a host's resets.
func TestTheSideThatWaitsHearsTheOtherOneAtOnce(t *testing.T) {
	for _, translated := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			n := &fakeNetwork{}
			m := &meeting{cfg: Config{Network: n}}
			candidate := rendezvous.Candidate{Kind: rendezvous.ServerReflexive, Addr: netip.MustParseAddrPort("127.0.0.1:7001"),
				Behavior: &predict.Behavior{Translated: &translated}}
			p := plan{at: timing.Now(), minTTL: true, strategy: rendezvous.LowTTLs,
				pairs: []rendezvous.Pair{{Local: candidate, Remote: candidate, SYNs: 100}}}
			r, err := m.ready(p, p.pairs[0], netip.MustParseAddrPort("127.0.0.1:7002"))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.fire(t.Context(), p, fakePad{}, p.at, r); err != nil {
				t.Fatal(err)
			}
			sent, began := r.socket.(*fakeSocket).options, time.Now()
			if err := m.inEarnest(t.Context(), p, r, p.at); err != nil {
				t.Fatal(err)
			}
			waits, took := r.socket.(*fakeSocket).options, time.Since(began)
			wantSent, wantWaits := SocketOptions{TTL: lowTTLHops, MinTTL: lowTTLHops + 1}, SocketOptions{MinTTL: lowTTLHops + 1}
			if !translated {
				wantSent.MinTTL, wantWaits = immuneMinTTL, SocketOptions{}
			}
			wantSent.SYNCount, wantWaits.SYNCount = mostRetransmissions, mostRetransmissions
			if sent != wantSent || waits != wantWaits || (took == 0) != translated {
				t.Errorf("translated %v: it sends with %+v and waits with %+v after %v, want %+v and %+v", translated, sent, waits, took, wantSent, wantWaits)
			}
		})
	}
}

// TestNoSYNFollowsTheDyingOneWithoutABudget: neither in earnest, nor after a fake.
func TestNoSYNFollowsTheDyingOneWithoutABudget(t *testing.T) {
	for _, strategy := range []rendezvous.Strategy{rendezvous.LowTTLs, rendezvous.FakeSYN} {
		synctest.Test(t, func(t *testing.T) {
			n := &fakeNetwork{fakes: true}
			m := &meeting{cfg: Config{Network: n, Clock: timing.NewClock(0, 0), Timeout: 5 * time.Second}, opening: &rendezvous.Opening{ISN: 1}}
			own, peer := netip.MustParseAddrPort("127.0.0.1:7002"), netip.MustParseAddrPort("127.0.0.1:7001")
			pair := rendezvous.Pair{Local: rendezvous.Candidate{Addr: own}, Remote: rendezvous.Candidate{Addr: peer}, SYNs: 1}
			p := plan{at: timing.Now(), strategy: strategy, sweeps: true, pairs: []rendezvous.Pair{pair}}
			r, err := m.ready(p, pair, own)
			if err != nil {
				t.Fatal(err)
			}
			if won, err := m.firstAndRace(t.Context(), p, []*runner{r}, nil); won != nil || err != nil {
				t.Fatalf("%s: got %v, %v, want no connection", strategy, won, err)
			}
			if got := len(n.launched()); got != 1 || r.failure == nil {
				t.Errorf("%s: %d SYNs left with a budget of 1, and then %v", strategy, got, r.failure)
			}
		})
	}
}
