package punch

import (
	"bytes"
	"crypto/ed25519"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

func newIdentity(t *testing.T) *rendezvous.Identity {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := rendezvous.IdentityFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func datagramSocket(t *testing.T) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// exchangePair makes both ends of an exchange. They hold the right keys, and
// aim at each other.
func exchangePair(t *testing.T) (a, b *datagramExchange) {
	t.Helper()
	ida, idb := newIdentity(t), newIdentity(t)
	a = newDatagramExchange(ida, idb.ID(), "session", datagramSocket(t))
	b = newDatagramExchange(idb, ida.ID(), "session", datagramSocket(t))
	a.aims, b.aims = []aimed{{b.local(), 20}}, []aimed{{a.local(), 20}}
	return a, b
}

func (e *datagramExchange) local() netip.AddrPort {
	return e.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// runBoth runs both ends until they have ended.
func runBoth(t *testing.T, a, b *datagramExchange, timeout time.Duration) {
	t.Helper()
	var both sync.WaitGroup
	for _, e := range []*datagramExchange{a, b} {
		both.Go(func() {
			if err := e.run(t.Context(), timing.Now(), timeout); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
}

func TestDatagramsProveBothKeys(t *testing.T) {
	a, b := exchangePair(t)
	runBoth(t, a, b, 10*time.Second)
	for _, e := range []*datagramExchange{a, b} {
		if e.proven == 0 || e.answered == 0 || e.answered > e.proven || e.forged != 0 {
			t.Errorf("got answered %v, proven %v, %d forged, want both in this order and none", e.answered, e.proven, e.forged)
		}
	}
	if a.peer != b.local() || b.peer != a.local() {
		t.Errorf("got peers %v and %v, want %v and %v", a.peer, b.peer, b.local(), a.local())
	}
}

func TestDatagramsFindAPeerAtAnotherPort(t *testing.T) {
	a, b := exchangePair(t)
	a.aims[0].remote = netip.AddrPortFrom(b.local().Addr(), 9) // discard
	runBoth(t, a, b, 10*time.Second)
	if a.proven == 0 || b.proven == 0 {
		t.Errorf("got proven %v and %v, want both", a.proven, b.proven)
	}
}

func TestDatagramsOfOthersProveNothing(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *datagramExchange){
		"another key":     func(t *testing.T, e *datagramExchange) { e.own = newIdentity(t) },
		"another meeting": func(_ *testing.T, e *datagramExchange) { e.session = "another" },
		"for another":     func(t *testing.T, e *datagramExchange) { e.peerKey = newIdentity(t).ID() },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := exchangePair(t)
			spoil(t, b)
			runBoth(t, a, b, 200*time.Millisecond)
			if a.proven != 0 || a.state != silent || a.forged == 0 {
				t.Errorf("got proven %v in state %d, %d forged, want nothing proven and some forged", a.proven, a.state, a.forged)
			}
		})
	}
}

// An answer is of use only to the nonce that it repeats, and only as it was
// signed.
func TestDatagramsAreFreshAndWhole(t *testing.T) {
	a, b := exchangePair(t)
	b.take(a.compose(), a.local())
	answer := b.compose()
	later := newDatagramExchange(a.own, a.peerKey, a.session, a.conn)
	later.aims = a.aims
	if later.take(answer, b.local()); later.state != heard {
		t.Errorf("an answer to an older nonce: got state %d, want %d", later.state, heard)
	}
	for i := range answer {
		spoilt := bytes.Clone(answer)
		spoilt[i] ^= 1
		fresh := *a
		if fresh.take(spoilt, b.local()); fresh.state != silent {
			t.Fatalf("byte %d changed: got state %d, want %d", i, fresh.state, silent)
		}
	}
	if a.take(answer, netip.MustParseAddrPort("192.0.2.1:1")); a.state != silent {
		t.Errorf("from an address that is not aimed at: got state %d, want %d", a.state, silent)
	}
	if a.take(answer, b.local()); a.state != proof {
		t.Errorf("the answer itself: got state %d, want %d", a.state, proof)
	}
}

func TestDatagramsKeepWithinTheBudget(t *testing.T) {
	a, b := exchangePair(t)
	a.aims[0].left = 2
	b.conn.Close()
	a.run(t.Context(), timing.Now(), 400*time.Millisecond)
	if a.sent > 2 {
		t.Errorf("%d datagrams left, want at most 2", a.sent)
	}
}
