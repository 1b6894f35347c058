package lab

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestANodeIsSettledWhenItsConnectionsHaveEnded: those that are open count, and
// what the kernel remembers of closed ones for a minute is forgotten.
func TestANodeIsSettledWhenItsConnectionsHaveEnded(t *testing.T) {
	n := build(t, "public", "public", 0)
	l := n.listen(t, "a", "[::]:7770")
	client, server := connect(t, n, l)
	soon := 20 * time.Millisecond
	if settled, err := n.settled(t.Context(), soon, "a", "b"); err != nil || settled {
		t.Fatalf("with an open connection settled is %t (%v)", settled, err)
	}
	server.Close() // first, so that a remembers the connection
	client.Close()
	if settled, err := n.settled(t.Context(), 10*time.Second, "b", "a"); err != nil || !settled {
		t.Fatalf("after both ends were closed settled is %t (%v)", settled, err)
	}
	if left, err := forgetRemembered(n.namespaces["a"]); err != nil || left != 0 {
		t.Errorf("%d connections are left (%v)", left, err)
	}
}

func connect(t *testing.T, n *Network, l *net.TCPListener) (client, server net.Conn) {
	t.Helper()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	client, err := n.dial(t, "b", 0, "198.51.100.1:7770")
	if err != nil {
		t.Fatal(err)
	}
	if server = <-accepted; server == nil {
		t.Fatal("nothing was accepted")
	}
	return client, server
}

// TestWaitingForANodeEndsWithItsContext also where a connection stays open.
func TestWaitingForANodeEndsWithItsContext(t *testing.T) {
	n := build(t, "public", "public", 0)
	client, server := connect(t, n, n.listen(t, "a", "[::]:7770"))
	defer client.Close()
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if settled, err := n.settled(ctx, time.Hour, "a"); settled || err == nil {
		t.Errorf("settled is %t (%v), want the end of the context", settled, err)
	}
}
