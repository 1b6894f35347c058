package lab

import (
	"net"
	"net/netip"
	"slices"
	"testing"
)

// TestAnOverflowOfEventsIsKnownUntilTheNextMeeting: nobody reads while more
// connections come than the kernel keeps events of.
func TestAnOverflowOfEventsIsKnownUntilTheNextMeeting(t *testing.T) {
	n := build(t, "linux", "public", 0)
	l := n.logs[0]
	if err := l.conn.SetReadBuffer(1); err != nil { // the kernel's least
		t.Fatal(err)
	}
	client := n.packetConn(t, "a", "0.0.0.0:0")
	l.mu.Lock() // which the reader needs for the first event
	for port := range uint16(500) {
		to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(coordinator4, 20000+port))
		if _, err := client.WriteTo([]byte("x"), to); err != nil {
			l.mu.Unlock()
			t.Fatal(err)
		}
	}
	l.mu.Unlock()
	if !eventually(func() bool { return slices.Equal(n.unheard(), []string{"nat-a"}) }) {
		t.Fatalf("the boxes unheard are %q, want nat-a", n.unheard())
	}
	if err := l.conn.SetReadBuffer(1 << 20); err != nil { // for the end of them all
		t.Fatal(err)
	}
	if err := n.Forget(); err != nil {
		t.Fatal(err)
	}
	if got := n.unheard(); len(got) > 0 {
		t.Errorf("after the network forgot, the boxes unheard are %q", got)
	}
}
