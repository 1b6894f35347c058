package rendezvous

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"tcppunch/timing"
)

// serveCoordinator runs a coordinator on loopback for one test.
func serveCoordinator(t testing.TB) Address {
	t.Helper()
	id := newIdentity(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewCoordinator(CoordinatorConfig{Identity: id, STUN: []string{":3478"}, NTP: []string{"192.0.2.123"}}).Serve(ctx, listener)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	return Address{Key: id.ID(), Host: at.Addr().String(), Port: at.Port()}
}

func newIdentity(t testing.TB) *Identity {
	t.Helper()
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func connect(t testing.TB, at Address, id *Identity) *Client {
	t.Helper()
	c, err := Dial(t.Context(), at, id, timing.NewClock(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func join(t testing.TB, at Address, id *Identity, name string) *Client {
	t.Helper()
	c := connect(t, at, id)
	if _, err := c.Register(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	return c
}

type met struct {
	presence Presence
	err      error
}

func meetLater(t testing.TB, c *Client, peer string, key KeyID) <-chan met {
	out := make(chan met, 1)
	go func() {
		p, err := c.Meet(t.Context(), peer, key)
		out <- met{p, err}
	}()
	return out
}

func kindOf(err error) ErrorKind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

func TestTwoPeersAreIntroducedAndExchangeOffers(t *testing.T) {
	at := serveCoordinator(t)
	ida, idb := newIdentity(t), newIdentity(t)
	a, b := join(t, at, ida, "a"), join(t, at, idb, "b")
	later := meetLater(t, a, "b", idb.ID())
	pb, err := b.Meet(t.Context(), "a", "")
	if err != nil {
		t.Fatal(err)
	}
	pa := <-later
	if pa.err != nil {
		t.Fatal(pa.err)
	}
	if pa.presence.Key != idb.ID() || pb.Key != ida.ID() || !pb.SameAddress || pb.Session != pa.presence.Session || !pb.At.Equal(pa.presence.At) {
		t.Errorf("got %+v and %+v", pa.presence, pb)
	}
	oa, err := Offer{Version: OfferVersion, Budget: 11}.Sign(ida.Key, idb.ID(), pb.Session)
	if err != nil {
		t.Fatal(err)
	}
	ob, err := Offer{Version: OfferVersion, Budget: 22}.Sign(idb.Key, ida.ID(), pb.Session)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan Agreed, 1)
	go func() {
		agreed, err := a.Exchange(t.Context(), oa)
		if err != nil {
			t.Error(err)
		}
		got <- agreed
	}()
	fromA, err := b.Exchange(t.Context(), ob)
	if err != nil {
		t.Fatal(err)
	}
	fromB := <-got
	if o, err := fromA.Offer.Open(ida.ID(), idb.ID(), pb.Session); err != nil || o.Budget != 11 {
		t.Errorf("A's offer at B: %+v, %v", o, err)
	}
	if o, err := fromB.Offer.Open(idb.ID(), ida.ID(), pb.Session); err != nil || o.Budget != 22 {
		t.Errorf("B's offer at A: %+v, %v", o, err)
	}
	if !fromA.At.Equal(fromB.At) {
		t.Errorf("the stamps differ: %s and %s", fromA.At, fromB.At)
	}
	if len(fromA.Attested) != 1 || fromA.Attested[0] != a.Local() {
		t.Errorf("attested %v, want A's own connection %v", fromA.Attested, a.Local())
	}
}

// TestAPeerThatMeetsAgainWaitsForTheOtherToComeAgain: the connection of a
// meeting that is over may still stand, and is nobody to be introduced to.
func TestAPeerThatMeetsAgainWaitsForTheOtherToComeAgain(t *testing.T) {
	at := serveCoordinator(t)
	ida, idb := newIdentity(t), newIdentity(t)
	first := introduced(t, join(t, at, ida, "a"), join(t, at, idb, "b"))
	first[0].client.Close()
	a := join(t, at, ida, "a")
	later := meetLater(t, a, "b", "")
	receiveWaiting(t, a)
	b := join(t, at, idb, "b")
	if _, err := b.Meet(t.Context(), "a", ""); err != nil {
		t.Fatal(err)
	}
	if second := <-later; second.err != nil || second.presence.Session == first[0].session {
		t.Errorf("got %+v, want a second introduction", second)
	}
}

// partner is one side of an introduction.
type partner struct {
	client  *Client
	session string
}

// introduced lets A and B meet and exchange offers.
func introduced(t testing.TB, a, b *Client) (both [2]partner) {
	t.Helper()
	later := meetLater(t, a, "b", "")
	p, err := b.Meet(t.Context(), "a", "")
	if err != nil {
		t.Fatal(err)
	}
	if q := <-later; q.err != nil {
		t.Fatal(q.err)
	}
	var all sync.WaitGroup
	for i, c := range []*Client{a, b} {
		both[i] = partner{c, p.Session}
		all.Go(func() {
			if _, err := c.Exchange(t.Context(), SignedOffer{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return both
}

func TestAbsentPeerIsExplained(t *testing.T) {
	at := serveCoordinator(t)
	a := join(t, at, newIdentity(t), "a")
	ctx, cancel := context.WithCancel(t.Context())
	waitFor := func(c *Client, peer string) string {
		got := make(chan error, 1)
		go func() {
			_, err := c.Meet(ctx, peer, "")
			got <- err
		}()
		told := receiveWaiting(t, c)
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want canceled", err)
		}
		return told
	}
	if told := waitFor(a, "nobody"); !strings.Contains(told, "is not connected") {
		t.Errorf("told %q", told)
	}
	join(t, at, newIdentity(t), "busy")
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	if told := waitFor(join(t, at, newIdentity(t), "c"), "busy"); !strings.Contains(told, "has not asked for") {
		t.Errorf("told %q", told)
	}
}

// receiveWaiting waits until the client has been told why its peer is not there.
func receiveWaiting(t testing.TB, c *Client) string {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for c.Waiting() == "" {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the coordinator gave no reason within 10 s")
		}
	}
	return c.Waiting()
}

func TestWhatTheCoordinatorRefuses(t *testing.T) {
	at := serveCoordinator(t)
	idx, idy := newIdentity(t), newIdentity(t)

	t.Run("a name that another key holds", func(t *testing.T) {
		join(t, at, idx, "held")
		_, err := connect(t, at, idy).Register(t.Context(), "held")
		if kindOf(err) != KindNameTaken {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a name that could harm a terminal", func(t *testing.T) {
		_, err := connect(t, at, idy).Register(t.Context(), "\x1b[2J")
		if kindOf(err) != KindBadRequest {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the older connection of the same key and name", func(t *testing.T) {
		old := join(t, at, idx, "twice")
		later := meetLater(t, old, "nobody", "")
		join(t, at, idx, "twice")
		if got := <-later; kindOf(got.err) != KindReplaced {
			t.Errorf("got %v", got.err)
		}
	})
	t.Run("a peer with another key than the pinned one", func(t *testing.T) {
		join(t, at, idy, "p")
		_, err := join(t, at, idx, "q").Meet(t.Context(), "p", idx.ID())
		if kindOf(err) != KindWrongKey {
			t.Errorf("got %v", err)
		}
	})
	t.Run("two peers with one key", func(t *testing.T) {
		r := join(t, at, idx, "r")
		later := meetLater(t, r, "s", "")
		_, err := join(t, at, idx, "s").Meet(t.Context(), "r", "")
		if kindOf(err) != KindSameKey || kindOf((<-later).err) != KindSameKey {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a peer that leaves before the schedule", func(t *testing.T) {
		u, v := join(t, at, idx, "u"), join(t, at, idy, "v")
		later := meetLater(t, u, "v", "")
		if _, err := v.Meet(t.Context(), "u", ""); err != nil {
			t.Fatal(err)
		}
		if got := <-later; got.err != nil {
			t.Fatal(got.err)
		}
		v.Close()
		_, err := u.Exchange(t.Context(), SignedOffer{})
		if kindOf(err) != KindPeerLeft {
			t.Errorf("got %v", err)
		}
	})
}

func TestCoordinatorsKeyIsChecked(t *testing.T) {
	at := serveCoordinator(t)
	at.Key = newIdentity(t).ID()
	_, err := Dial(t.Context(), at, newIdentity(t), timing.NewClock(0, 0))
	if kindOf(err) != KindWrongKey {
		t.Errorf("got %v, want wrong-key", err)
	}
}

func TestNobodyListeningIsUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := listener.Addr().(*net.TCPAddr).AddrPort()
	listener.Close()
	_, err = Dial(t.Context(), Address{Key: newIdentity(t).ID(), Host: free.Addr().String(), Port: free.Port()}, newIdentity(t), timing.NewClock(0, 0))
	if kindOf(err) != KindUnreachable {
		t.Errorf("got %v, want unreachable", err)
	}
}

func TestCoordinatorIsATimeSource(t *testing.T) {
	const wrong = 137 * time.Millisecond
	at := serveCoordinator(t)
	clock := timing.NewClock(wrong, 0)
	c, err := Dial(t.Context(), at, newIdentity(t), clock)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	e, err := timing.Sync(t.Context(), clock, []timing.Source{c.Source()}, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	if miss := (e.Offset + wrong).Abs(); miss > e.Bound || e.Servers[0].Address != CoordinatorSource {
		t.Errorf("offset %s misses %s by %s, bound %s (%+v)", e.Offset, -wrong, miss, e.Bound, e.Servers)
	}
}

func TestNamesAreReleasedByTime(t *testing.T) {
	now := noon
	c := NewCoordinator(CoordinatorConfig{Identity: newIdentity(t), Now: func() time.Time { return now }})
	first, second := fakeSession(c, "k1"), fakeSession(c, "k2")
	if err := c.register(first, "n"); err != nil {
		t.Fatal(err)
	}
	c.leave(first)
	now = noon.Add(nameTTL - time.Second)
	if err := c.register(second, "n"); kindOf(err) != KindNameTaken {
		t.Errorf("before its time: got %v", err)
	}
	now = noon.Add(nameTTL)
	if err := c.register(second, "n"); err != nil {
		t.Errorf("after its time: got %v", err)
	}
}

func fakeSession(c *Coordinator, key KeyID) *session {
	return &session{coordinator: c, key: key, out: make(chan message, sendQueue), ended: make(chan struct{})}
}

func TestGateBoundsEachNetwork(t *testing.T) {
	g := newGate(100, 2)
	at := netip.MustParseAddr
	for _, step := range []struct {
		addr string
		want bool
	}{
		{"192.0.2.1", true}, {"::ffff:192.0.2.1", true}, {"192.0.2.1", false}, {"192.0.2.2", true},
		{"2001:db8:0:1::1", true}, {"2001:db8:0:2::1", true}, {"2001:db8:0:3::1", false}, {"2001:db8:0:100::1", true},
	} {
		if got := g.enter(at(step.addr)); got != step.want {
			t.Errorf("enter %s: got %v, want %v", step.addr, got, step.want)
		}
	}
	g.leave(at("192.0.2.1"))
	if !g.enter(at("192.0.2.1")) {
		t.Error("a place that was left is not free")
	}
}

func TestParseAddress(t *testing.T) {
	key := newIdentity(t).ID()
	for text, want := range map[string]string{
		string(key) + "@192.0.2.1:7770":      string(key) + "@192.0.2.1:7770",
		string(key) + "@192.0.2.1":           string(key) + "@192.0.2.1:7770",
		string(key) + "@[2001:db8::1]:99":    string(key) + "@[2001:db8::1]:99",
		string(key) + "@2001:db8::1":         string(key) + "@[2001:db8::1]:7770",
		string(key) + "@coordinator.example": string(key) + "@coordinator.example:7770",
		"192.0.2.1:7770":                     "",
		"short@192.0.2.1:7770":               "",
		string(key) + "@192.0.2.1:0":         "",
		string(key) + "@192.0.2.1:70000":     "",
		string(key) + "@":                    "",
	} {
		a, err := ParseAddress(text)
		if got := a.String(); err == nil && got != want || err != nil && want != "" {
			t.Errorf("%s: got %s, %v; want %q", text, got, err, want)
		}
	}
}
