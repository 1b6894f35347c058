package rawsock

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestEarHearsASYNUnheard(t *testing.T) {
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		nsA, nsB, addrA, addrB := distance(t, 2*time.Millisecond, like)
		ear := in(t, nsB, func() (*Ear, error) { return OpenEar(netip.AddrPortFrom(addrB, 0)) })
		t.Cleanup(func() { ear.Close() })
		a := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), Options{})
		mustConnect(t, a, ear.Local())
		heard := func() []netip.AddrPort { return in(t, nsB, ear.Heard) }
		for limit := soon(t); len(heard()) == 0 && limit.Err() == nil; {
		}
		if got := heard(); len(got) != 1 || got[0] != a.Local() {
			t.Errorf("heard %v, want %v", got, a.Local())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := a.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the sender's attempt: got %v, want no answer", err)
		}
		cancel()
		a.Close()
		ear.Close()
		for limit := soon(t); len(heard()) > 0; {
			if limit.Err() != nil {
				t.Fatalf("the kernel still remembers %v", heard())
			}
		}
		b := openIn(t, nsB, ear.Local(), Options{})
		if err := b.Connect(a.Local()); err != nil {
			t.Errorf("connect between the same endpoints afterwards: %v", err)
		}
	}
}

func TestRejectionTellsAnICMPErrorFromAReset(t *testing.T) {
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		nsA, _, addrA, addrB := distance(t, 2*time.Millisecond, like)
		kept := func(o Options) (Rejection, bool, error) {
			s := openIn(t, nsA, netip.AddrPortFrom(addrA, 0), o)
			if err := s.KeepErrors(); err != nil {
				t.Fatal(err)
			}
			mustConnect(t, s, netip.AddrPortFrom(addrB, 9))
			err := s.Wait(soon(t))
			r, ok := s.Rejection()
			return r, ok, err
		}
		if r, ok, err := kept(Options{}); ok || !errors.Is(err, ErrRefused) {
			t.Errorf("after a reset: got %+v, %v, %v; want ErrRefused and no ICMP error", r, ok, err)
		}
		exceeded := Rejection{Type: 11} // RFC 792, time exceeded in transit
		if like.Is6() {
			exceeded.Type = 3 // RFC 4443 section 3.3
		}
		if r, ok, err := kept(Options{TTL: 1}); !ok || r != exceeded || !errors.Is(err, ErrUnreachable) {
			t.Errorf("after a router's error: got %+v, %v, %v; want %+v and ErrUnreachable", r, ok, err, exceeded)
		}
	}
}
