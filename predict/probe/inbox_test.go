package probe

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Two dial-backs are under way at once, and each waits for its own connection.
func TestInboxWakesAllWhoWait(t *testing.T) {
	for range 100 {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		box := newInbox(l)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				c, err := net.Dial("tcp4", l.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				port := c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
				if !box.got(t.Context(), port, 10*time.Second) {
					t.Errorf("the connection from port %d was not seen", port)
				}
			})
		}
		both.Wait()
		box.close()
		if t.Failed() {
			return
		}
	}
}

func TestInboxDoesNotWaitForEver(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box := newInbox(l)
	defer box.close()
	if box.got(t.Context(), 1, time.Millisecond) {
		t.Error("a connection was seen that nobody made")
	}
}
