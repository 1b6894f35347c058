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
	news     chan struct{} // holds one when something has come
}

func (r *run) openInbox(ctx context.Context, local netip.AddrPort) (*inbox, error) {
	l, err := r.cfg.Network.Listen(ctx, local)
	if err != nil {
		return nil, err
	}
	b := &inbox{listener: l, from: map[uint16]bool{}, news: make(chan struct{}, 1)}
	b.done.Go(b.accept)
	return b, nil
}

func (b *inbox) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.from[endpoint(c.RemoteAddr()).Port()] = true
		b.mu.Unlock()
		c.Close()
		select {
		case b.news <- struct{}{}:
		default:
		}
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
		have := b.from[port]
		b.mu.Unlock()
		if have {
			return true
		}
		select {
		case <-b.news:
		case <-ctx.Done():
			return false
		}
	}
}

func (b *inbox) close() {
	b.listener.Close()
	b.done.Wait()
}
