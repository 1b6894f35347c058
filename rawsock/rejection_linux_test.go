package rawsock

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

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
		exceeded := Rejection{Type: 11, From: netip.MustParseAddr("198.18.1.1")} // RFC 792, time exceeded in transit
		if like.Is6() {
			exceeded = Rejection{Type: 3, From: netip.MustParseAddr("2001:2::1:1")} // RFC 4443 section 3.3
		}
		if r, ok, err := kept(Options{TTL: 1}); !ok || r != exceeded || !r.Exceeded() || !errors.Is(err, ErrUnreachable) {
			t.Errorf("after a router's error: got %+v, %v, %v; want %+v and ErrUnreachable", r, ok, err, exceeded)
		}
	}
}
