package punch

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// TestAnUnansweredSYNIsRepeatedWithinTheBudget: a kernel repeats it every second,
// and oftener than TCP_SYNCNT says.
func TestAnUnansweredSYNIsRepeatedWithinTheBudget(t *testing.T) {
	for _, budget := range []int{1, rendezvous.HostSYNs, 3, rendezvous.SpareSYNs, 50} {
		synctest.Test(t, func(t *testing.T) {
			n := &fakeNetwork{}
			m := &meeting{cfg: Config{Network: n}}
			own, peer := netip.MustParseAddrPort("127.0.0.1:7002"), netip.MustParseAddrPort("127.0.0.1:7001")
			pair := rendezvous.Pair{Local: rendezvous.Candidate{Addr: own}, Remote: rendezvous.Candidate{Addr: peer}, SYNs: budget}
			p := plan{at: timing.Now(), pairs: []rendezvous.Pair{pair}}
			r, err := m.ready(p, pair, own)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.fire(t.Context(), p, fakePad{}, p.at, r); err != nil {
				t.Fatal(err)
			}
			const timeout = 9500 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			err = m.retry(ctx, p, r, func() Launchpad { return fakePad{} })
			r.socket.Close()
			s := r.socket.(*fakeSocket)
			left := 1 + int(s.closed.Sub(s.sent)/time.Second)
			if want := min(budget, 1+int(timeout/time.Second)); left != want || errors.Is(err, errBudget) != (budget < 10) {
				t.Errorf("a budget of %d: %d SYNs left, and then %v, want %d", budget, left, err, want)
			}
		})
	}
}
