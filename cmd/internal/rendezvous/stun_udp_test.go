package rendezvous

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"tcppunch/predict/probe"
)

// A host with several addresses answers from the one that was asked, or the
// answer does not get through a NAT.
func TestSTUNOverUDPAnswersFromTheAddressThatWasAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	conns, err := ListenDatagrams(ctx, netip.MustParseAddrPort("0.0.0.0:0"))
	if err != nil {
		t.Fatal(err)
	}
	c, other := NewCoordinator(CoordinatorConfig{}), netip.MustParseAddrPort("192.0.2.7:3479")
	ended := make(chan error, len(conns))
	for _, conn := range conns {
		go func() { ended <- c.ServeSTUNDatagrams(ctx, conn, other) }()
	}
	t.Cleanup(func() {
		cancel()
		for range conns {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("serving ended with %v, want %v", err, context.Canceled)
			}
		}
	})
	client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	local := client.LocalAddr().(*net.UDPAddr).AddrPort()
	port := conns[0].LocalAddr().(*net.UDPAddr).AddrPort().Port()
	asked := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port)
	seen, err := probe.ObserveDatagrams(ctx, client, local, []netip.AddrPort{asked})
	if err != nil || len(seen) != 1 || seen[0].Reflexive != local {
		t.Errorf("got %+v, %v, want %v as seen by %v", seen, err, local, asked)
	}
}

func TestDatagramQuotaHoldsForASecond(t *testing.T) {
	q := quota{most: 3, perNet: 2}
	one, two, three := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	now := time.Unix(1000, 0)
	for i, want := range []struct {
		from netip.Addr
		at   time.Duration
		let  bool
	}{
		{one, 0, true}, {one, 0, true}, {one, 999 * time.Millisecond, false}, {two, 0, true}, {three, 0, false},
		{one, time.Second, true},
	} {
		if got := q.take(want.from, now.Add(want.at)); got != want.let {
			t.Errorf("request %d: got %v, want %v", i, got, want.let)
		}
	}
}

func TestPeersOverDifferentTransportsDoNotMeet(t *testing.T) {
	a, b := Party{Key: "a"}, Party{Key: "b"}
	b.Offer.Transport = UDP
	if _, err := Agree(a, b, Terms{}); !errors.Is(err, ErrTransport) {
		t.Errorf("got %v, want %v", err, ErrTransport)
	}
	a.Offer.Transport, b.Offer.Transport = TCP, ""
	if _, err := Agree(a, b, Terms{}); errors.Is(err, ErrTransport) {
		t.Errorf("got %v, want another: both mean TCP", err)
	}
}
