package probe

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// inbox accepts what comes to a local port, and remembers from which ports it
// came.
type inbox struct {
	listener net.Listener
	done     sync.WaitGroup
	mu       sync.Mutex
	from     map[uint16]bool
	news     chan struct{} // closed, for all who wait, when something has come
}

func (r *run) openInbox(ctx context.Context, local netip.AddrPort) (*inbox, error) {
	l, err := r.cfg.Network.Listen(ctx, local)
	if err != nil {
		return nil, err
	}
	return newInbox(l), nil
}

// newInbox owns l from now on.
func newInbox(l net.Listener) *inbox {
	b := &inbox{listener: l, from: map[uint16]bool{}, news: make(chan struct{})}
	b.done.Go(b.accept)
	return b
}

func (b *inbox) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.from[endpoint(c.RemoteAddr()).Port()] = true
		close(b.news)
		b.news = make(chan struct{})
		b.mu.Unlock()
		c.Close()
	}
}

// local is the port that is listened at.
func (b *inbox) local() netip.AddrPort { return endpoint(b.listener.Addr()) }

// got waits until something has come from a port of the other side.
func (b *inbox) got(ctx context.Context, port uint16, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		b.mu.Lock()
		have, news := b.from[port], b.news
		b.mu.Unlock()
		if have {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

func (b *inbox) close() {
	b.listener.Close()
	b.done.Wait()
}
