package probe

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

func socket(t *testing.T) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// answering serves datagrams until the test ends. The first skip requests are
// lost.
func answering(t *testing.T, r Responder, skip int) netip.AddrPort {
	conn, at := socket(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, MaxMessage)
		for i := 0; ; i++ {
			n, from, err := conn.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			if i >= skip {
				conn.WriteToUDPAddrPort([]byte("not an answer"), from)
				conn.WriteToUDPAddrPort(r.Datagram(buffer[:n], from), from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return at
}

func TestDatagramsAreObservedInOrderAndAgain(t *testing.T) {
	conn, local := socket(t)
	one, two := answering(t, Responder{}, 1), answering(t, Responder{}, 0)
	seen, err := ObserveDatagrams(t.Context(), conn, local, []netip.AddrPort{one, two})
	if err != nil || len(seen) != 2 {
		t.Fatalf("got %+v, %v, want two observations", seen, err)
	}
	for i, server := range []netip.AddrPort{one, two} {
		if seen[i].Server != server || seen[i].Reflexive != local || seen[i].Local != local {
			t.Errorf("got %+v, want %v as seen by %v", seen[i], local, server)
		}
	}
}

func TestDatagramAnswersNameTheOtherAddress(t *testing.T) {
	from, other := netip.MustParseAddrPort("192.0.2.1:5000"), netip.MustParseAddrPort("192.0.2.7:3479")
	m, err := parseDatagram(Responder{Other: other}.Datagram(built(t, stun.TransactionID, stun.BindingRequest), from))
	if err != nil {
		t.Fatal(err)
	}
	if held, err := interpret(m); err != nil || held.Reflexive != from || held.Other != other {
		t.Errorf("got %+v, %v, want %v and %v", held, err, from, other)
	}
}

// A forged source must not get much more than the forger spent.
func TestDatagramAnswersAreShort(t *testing.T) {
	const headers4, headers6 = 20 + 8, 40 + 8
	for _, c := range []struct {
		from    string
		headers int
		most    float64
	}{{"192.0.2.1:5000", headers4, 1.5}, {"[2001:db8::1]:5000", headers6, 1.75}} {
		from := netip.MustParseAddrPort(c.from)
		for name, request := range map[string][]byte{
			"plain":             built(t, stun.TransactionID, stun.BindingRequest),
			"unknown attribute": built(t, stun.TransactionID, stun.BindingRequest, stun.RawAttribute{Type: 0x7777}),
		} {
			answer := Responder{Other: from}.Datagram(request, from)
			if got := float64(len(answer)+c.headers) / float64(len(request)+c.headers); len(answer) == 0 || got > c.most {
				t.Errorf("%s from %s: %d bytes answered with %d, %.2f times as much on the wire, want at most %.2f", name, from, len(request), len(answer), got, c.most)
			}
		}
	}
}

func TestDatagramsThatAskNothingGetNoAnswer(t *testing.T) {
	request := built(t, stun.TransactionID, stun.BindingRequest)
	for name, b := range map[string][]byte{
		"nothing": nil, "cut short": request[:19], "longer than it says": append(built(t, stun.TransactionID, stun.BindingRequest), 0),
		"an answer":  built(t, stun.TransactionID, stun.BindingSuccess),
		"indication": built(t, stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication)),
		"too long":   make([]byte, MaxMessage+1),
	} {
		if answer := (Responder{}).Datagram(b, netip.MustParseAddrPort("192.0.2.1:5000")); answer != nil {
			t.Errorf("%s: got %x, want silence", name, answer)
		}
	}
}

func TestDatagramErrorIsARefusal(t *testing.T) {
	conn, local := socket(t)
	server, at := socket(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, MaxMessage)
		n, from, err := server.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		m, _ := parseDatagram(buffer[:n])
		answer, _ := stun.Build(m, bindingError, stun.CodeUnauthorized)
		server.WriteToUDPAddrPort(answer.Raw, from)
	}()
	t.Cleanup(func() { server.Close(); <-done })
	if _, err := ObserveDatagrams(t.Context(), conn, local, []netip.AddrPort{at}); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want %v", err, ErrRefused)
	}
}

// Whatever a stranger sends, answering ends without a panic, and is bounded.
func FuzzDatagram(f *testing.F) {
	for _, setters := range [][]stun.Setter{
		{stun.TransactionID, stun.BindingRequest},
		{stun.TransactionID, stun.BindingRequest, stun.RawAttribute{Type: stun.AttrChangeRequest, Value: []byte{0, 0, 0, 6}}},
	} {
		m, err := stun.Build(setters...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Raw)
	}
	from := netip.MustParseAddrPort("[2001:db8::1]:5000")
	f.Fuzz(func(t *testing.T, b []byte) {
		if answer := (Responder{Other: from}).Datagram(b, from); len(answer) > len(b)+48 {
			t.Errorf("%d bytes were answered with %d", len(b), len(answer))
		}
	})
}
