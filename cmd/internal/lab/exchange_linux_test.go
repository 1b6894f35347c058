package lab

import (
	"net/netip"
	"testing"
)

func TestErrorsTellWhichPacketTheyAreAbout(t *testing.T) {
	failure := fails(3, 13).bytes(4242)
	h, ok := parseHeader(failure)
	if !ok || h.quoted == nil {
		t.Fatalf("got %+v, %v: no quoted packet", h, ok)
	}
	want := [2]netip.AddrPort{netip.AddrPortFrom(diffExternal, 4242), netip.AddrPortFrom(diffPeer, 6000)}
	if *h.quoted != want {
		t.Errorf("got %v, want %v", *h.quoted, want)
	}
	for n := range failure {
		parseHeader(failure[:n])
	}
}
