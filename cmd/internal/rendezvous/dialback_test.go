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

	"tcppunch/predict/probe"
)

// recorder is a socket layer that notes what it is to dial.
type recorder struct {
	mu    sync.Mutex
	heard chan netip.AddrPort // what its ears hear
	dials []netip.AddrPort
}

func (r *recorder) Ear(local netip.Addr) (Ear, error) {
	return recorderEar{r, netip.AddrPortFrom(local, 40000)}, nil
}

func (r *recorder) Dial(_ context.Context, local, to netip.AddrPort, _ time.Duration) (probe.Reached, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dials = append(r.dials, to)
	return probe.Reached{Port: local.Port(), Answer: probe.Refused}, nil
}

type recorderEar struct {
	r     *recorder
	local netip.AddrPort
}

func (e recorderEar) Local() netip.AddrPort { return e.local }
func (e recorderEar) Refuse() error         { return nil }
func (e recorderEar) Close() error          { return nil }
func (e recorderEar) Heard(ctx context.Context) (netip.AddrPort, error) {
	select {
	case a := <-e.r.heard:
		return a, nil
	case <-ctx.Done():
		return netip.AddrPort{}, ctx.Err()
	}
}

// visitor is a guest of a coordinator whose sockets are the recorder's.
func visitor(t *testing.T, r *recorder) *Client {
	t.Helper()
	id := newIdentity(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c := CoordinatorConfig{Identity: id}
	if r != nil {
		c.DialBack = r
	}
	go func() {
		defer close(done)
		NewCoordinator(c).Serve(ctx, listener)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	client := connect(t, Address{Key: id.ID(), Host: at.Addr().String(), Port: at.Port()}, newIdentity(t))
	if _, err := client.Visit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client
}

func openDoor(t *testing.T, c *Client) probe.Door {
	t.Helper()
	door, err := c.DialBack().Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return door
}

func TestCoordinatorDialsOnlyWhatItHasObserved(t *testing.T) {
	r := &recorder{heard: make(chan netip.AddrPort, 4)}
	client := visitor(t, r)
	door := openDoor(t, client)
	other := netip.AddrPortFrom(client.Local().Addr(), 9)
	for _, to := range []netip.AddrPort{{}, other, netip.MustParseAddrPort("192.0.2.1:80")} {
		if _, err := door.Dial(t.Context(), to, 0); err == nil {
			t.Errorf("%v, at which it has seen no connection, was dialled", to)
		}
	}
	if got, err := door.Dial(t.Context(), client.Local(), 0); err != nil || got.Port != 40000 || got.Answer != probe.Refused {
		t.Errorf("its own connection's address: got %+v, %v", got, err)
	}
	r.heard <- netip.MustParseAddrPort("192.0.2.1:80")
	r.heard <- other
	if seen, err := door.Watch(t.Context()); seen != other || err != nil {
		t.Errorf("watch: got %v, %v; want %v and not the stranger", seen, err, other)
	}
	if _, err := openDoor(t, client).Dial(t.Context(), other, 0); err == nil {
		t.Error("what one door saw was dialled from another")
	}
	if _, err := door.Dial(t.Context(), other, 0); err != nil {
		t.Errorf("what the door saw: %v", err)
	}
	if want := []netip.AddrPort{client.Local(), other}; len(r.dials) != 2 || r.dials[0] != want[0] || r.dials[1] != want[1] {
		t.Errorf("dialled %v, want %v", r.dials, want)
	}
}

func TestDialBacksOfOneConnectionAreCounted(t *testing.T) {
	r := &recorder{}
	client := visitor(t, r)
	door := openDoor(t, client)
	refused := 0
	for range maxDials + 5 {
		if _, err := door.Dial(t.Context(), client.Local(), 0); err != nil {
			refused++
		}
	}
	if refused != 5 || len(r.dials) != maxDials {
		t.Errorf("refused %d and dialled %d, want 5 and %d", refused, len(r.dials), maxDials)
	}
	var err error
	for range maxDoors {
		_, err = client.DialBack().Open(t.Context())
	}
	if err == nil {
		t.Errorf("more than %d doors were opened", maxDoors)
	}
}

func TestDialLimitCountsNetworksByTheMinute(t *testing.T) {
	l, now := newDialLimit(), time.Unix(1e9, 0)
	taken := func(text string) (n int) {
		for range 2 * dialsPerNetwork {
			if l.take(netip.MustParseAddr(text), now) {
				n++
			}
		}
		return n
	}
	if got := taken("192.0.2.1"); got != dialsPerNetwork {
		t.Errorf("an address: %d, want %d", got, dialsPerNetwork)
	}
	if got := taken("192.0.2.2"); got != dialsPerNetwork {
		t.Errorf("its neighbour: %d, want %d", got, dialsPerNetwork)
	}
	if first, second := taken("2001:db8:0:100::1"), taken("2001:db8:0:1ff::2"); first != dialsPerNetwork || second != 0 {
		t.Errorf("two hosts of a /56: %d and %d, want %d and 0", first, second, dialsPerNetwork)
	}
	now = now.Add(dialWindow)
	if got := taken("192.0.2.1"); got != dialsPerNetwork {
		t.Errorf("a minute later: %d, want %d", got, dialsPerNetwork)
	}
}

func TestDialBackIsRefusedInOneSentence(t *testing.T) {
	client := visitor(t, nil)
	if _, err := client.DialBack().Open(t.Context()); err == nil || !strings.Contains(err.Error(), "does not dial back") {
		t.Errorf("a coordinator without sockets: got %v", err)
	}
	client = visitor(t, &recorder{})
	if _, err := client.DialBack().DialElsewhere(t.Context(), client.Local(), 0); err == nil || !strings.Contains(err.Error(), "second address") {
		t.Errorf("a coordinator with one address: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := openDoor(t, client).Watch(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up: got %v, want %v", err, context.Canceled)
	}
}

func TestGuestMeetsNobody(t *testing.T) {
	client := visitor(t, nil)
	if _, err := client.Meet(t.Context(), "b", ""); kindOf(err) != KindBadRequest {
		t.Errorf("got %v, want %s", err, KindBadRequest)
	}
}
