package rawsock

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestRefusedSocketConnectsAgainFromTheSamePort(t *testing.T) {
	s, err := Open(netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	remote := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	for try := range 3 {
		if err := s.Connect(remote); err != nil {
			t.Fatalf("try %d: %v", try, err)
		}
		if err := s.Wait(t.Context()); !errors.Is(err, ErrRefused) {
			t.Fatalf("try %d: got %v, want %v", try, err, ErrRefused)
		}
	}
	if l, err = net.Listen("tcp", remote.String()); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := s.Connect(remote); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if called, resent := s.SYNs(); called != 4 || resent != 0 {
		t.Errorf("got %d SYNs and %d retransmissions, want 4 and 0", called, resent)
	}
	c, err := s.Conn()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := c.LocalAddr().(*net.TCPAddr).AddrPort(), s.Local(); got != want {
		t.Errorf("local end: got %v, want %v", got, want)
	}
}
