package punch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"tcppunch/cmd/internal/rendezvous"
)

// tcpPair is a connection over loopback.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func identity(t testing.TB) *rendezvous.Identity {
	t.Helper()
	id, err := rendezvous.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

type secured struct {
	conn net.Conn
	err  error
}

func secureLater(m *meeting, raw net.Conn, p plan) <-chan secured {
	out := make(chan secured, 1)
	go func() {
		conn, err := m.secure(context.Background(), raw, raw, p)
		if err != nil {
			raw.Close()
			out <- secured{nil, err}
			return
		}
		out <- secured{conn, nil}
	}()
	return out
}

func TestBothSidesProveTheirKeys(t *testing.T) {
	client, server := identity(t), identity(t)
	a, b := tcpPair(t)
	later := secureLater(&meeting{cfg: Config{Identity: server}}, b, plan{peerKey: client.ID()})
	conn, err := (&meeting{cfg: Config{Identity: client}}).secure(t.Context(), a, a, plan{client: true, peerKey: server.ID()})
	if err != nil {
		t.Fatal(err)
	}
	other := <-later
	if other.err != nil {
		t.Fatal(other.err)
	}
	checkEcho(t, conn, other.conn)
}

func checkEcho(t testing.TB, a, b net.Conn) {
	t.Helper()
	want := []byte("through")
	go a.Write(want)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestNeitherSideAcceptsAnotherKey(t *testing.T) {
	client, server, stranger := identity(t), identity(t), identity(t)
	tests := []struct {
		name                       string
		expectedByA, expectedByB   rendezvous.KeyID
		aMustSeeIt, bMustSeeItsKey bool
	}{
		{"the client expects another server", stranger.ID(), client.ID(), true, false},
		{"the server expects another client", server.ID(), stranger.ID(), false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, b := tcpPair(t)
			later := secureLater(&meeting{cfg: Config{Identity: server}}, b, plan{peerKey: test.expectedByB})
			_, err := (&meeting{cfg: Config{Identity: client}}).secure(t.Context(), a, a, plan{client: true, peerKey: test.expectedByA})
			a.Close()
			other := <-later
			if err == nil || other.err == nil {
				t.Fatalf("client %v, server %v: both must fail", err, other.err)
			}
			if errors.Is(err, rendezvous.ErrWrongKey) != test.aMustSeeIt || errors.Is(other.err, rendezvous.ErrWrongKey) != test.bMustSeeItsKey {
				t.Errorf("client %v, server %v", err, other.err)
			}
		})
	}
}

func TestASharedSecretGivesBothRoles(t *testing.T) {
	keys := func(secret string) *roleKeys {
		k, err := deriveKeys([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	a, b := tcpPair(t)
	later := secureLater(&meeting{keys: keys("0123456789abcdef")}, b, plan{})
	conn, err := (&meeting{keys: keys("0123456789abcdef")}).secure(t.Context(), a, a, plan{})
	if err != nil {
		t.Fatal(err)
	}
	other := <-later
	if other.err != nil {
		t.Fatal(other.err)
	}
	checkEcho(t, conn, other.conn)

	a, b = tcpPair(t)
	later = secureLater(&meeting{keys: keys("0123456789abcdef")}, b, plan{})
	_, err = (&meeting{keys: keys("another secret...")}).secure(t.Context(), a, a, plan{})
	a.Close()
	if other := <-later; err == nil || other.err == nil {
		t.Errorf("different secrets: got %v and %v", err, other.err)
	}
	if _, err := deriveKeys([]byte("short")); err == nil {
		t.Error("a short secret is accepted")
	}
}

func TestAStrangersBytesAreNoPeer(t *testing.T) {
	a, b := tcpPair(t)
	go io.WriteString(b, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	if _, err := drawRoles(t.Context(), a); err == nil {
		t.Error("a web server is taken for a peer")
	}
}

func TestAuthenticationEndsWithItsContext(t *testing.T) {
	a, _ := tcpPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	m := &meeting{cfg: Config{Identity: identity(t)}}
	if _, err := m.secure(ctx, a, a, plan{client: true}); err == nil {
		t.Error("a silent peer is authenticated")
	}
}

// standingSocket stands already. Its other methods are not needed.
type standingSocket struct {
	Socket
	conn net.Conn
}

func (s standingSocket) Conn() (net.Conn, error) { return s.conn, nil }

func TestASocketOnWhichNothingPassesIsGivenUpForAnother(t *testing.T) {
	client, server := identity(t), identity(t)
	dead, _ := tcpPair(t) // the other end never answers
	a, b := tcpPair(t)
	later := secureLater(&meeting{cfg: Config{Identity: server}}, b, plan{peerKey: client.ID()})
	m := &meeting{cfg: Config{Identity: client, Timeout: time.Minute}}
	begin := time.Now()
	won := m.race(t.Context(), plan{client: true, peerKey: server.ID()}, 2, func(context.Context) <-chan *runner {
		standing := make(chan *runner, 2)
		standing <- &runner{socket: standingSocket{conn: dead}}
		standing <- &runner{socket: standingSocket{conn: a}}
		close(standing)
		return standing
	})
	if won == nil {
		t.Fatal("got no connection, want the one on which the peer answers")
	}
	defer won.conn.Close()
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it took %v, want a moment", took)
	}
	other := <-later
	if other.err != nil {
		t.Fatal(other.err)
	}
	checkEcho(t, won.conn, other.conn)
}
