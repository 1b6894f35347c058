package punch

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// TestASecondRoundThatCameToNothingDoesNotStand: where another socket stands when
// the third round is due there is none, and the second one's is no connection all
// the same. Handed over as one it would end the handshake on the other.
func TestASecondRoundThatCameToNothingDoesNotStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNetwork{}
		m := &meeting{cfg: Config{Network: n}, opening: &rendezvous.Opening{ISN: 1}}
		own, peer := netip.MustParseAddrPort("127.0.0.1:7002"), netip.MustParseAddrPort("127.0.0.1:7001")
		pair := rendezvous.Pair{Local: rendezvous.Candidate{Addr: own, Spare: true}, Remote: rendezvous.Candidate{Addr: peer}, SYNs: 100}
		p := plan{at: timing.Now(), strategy: rendezvous.Auto, peerOpening: &rendezvous.Opening{ISN: 2}, pairs: []rendezvous.Pair{pair}}
		r, err := m.ready(p, pair, own)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.fire(t.Context(), p, fakePad{}, p.lowTTLAt(), r); err != nil {
			t.Fatal(err)
		}
		m.stands.Store(true) // of the first round
		err = m.retryThenCraft(t.Context(), p, r, func() Launchpad { return fakePad{} })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want what became of the SYN, which nobody answered", err)
		}
	})
}
