package rawsock

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func TestEarHearsASYNInSilence(t *testing.T) {
	for _, like := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		nsA, nsB, addrA, addrB := distance(t, 2*time.Millisecond, like)
		ear := in(t, nsB, func() (*Ear, error) { return OpenEar(netip.AddrPortFrom(addrB, 0)) })
		t.Cleanup(func() { ear.Close() })
		a := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), Options{})
		mustConnect(t, a, ear.Local())
		if got, err := ear.Heard(soon(t)); got != a.Local() || err != nil {
			t.Errorf("heard %v, %v; want %v", got, err, a.Local())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := a.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the sender's attempt: got %v, want no answer", err)
		}
		cancel()
		b := openIn(t, nsB, ear.Local(), Options{})
		mustConnect(t, b, a.Local())
		if err := b.Wait(soon(t)); err != nil {
			t.Errorf("the crossing from the silent port: %v", err)
		}
	}
}

func TestEarRefusesWhenItIsTold(t *testing.T) {
	nsA, nsB, addrA, addrB := distance(t, 2*time.Millisecond, netip.IPv4Unspecified())
	ear := in(t, nsB, func() (*Ear, error) { return OpenEar(netip.AddrPortFrom(addrB, 0)) })
	t.Cleanup(func() { ear.Close() })
	if err := nsB.Do(ear.Refuse); err != nil {
		t.Fatal(err)
	}
	a := openIn(t, nsA, netip.AddrPortFrom(addrA, 7001), Options{})
	mustConnect(t, a, ear.Local())
	if err := a.Wait(soon(t)); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want a refusal", err)
	}
}
