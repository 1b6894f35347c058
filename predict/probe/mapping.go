package probe

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/pion/stun/v3"
)

// portsResult are the mappings from which behaviour and ports are inferred, in
// the order in which they were made.
type portsResult struct {
	local     netip.AddrPort // the port of the coming punch
	reflexive netip.AddrPort
	seen      []Held
	repeated  *bool // a repeated destination has seen another mapping
	why       string
}

// observePorts looks at the port of the coming punch from several servers, at
// one that connects twice to the same server, and at fresh ones.
func (r *run) observePorts(ctx context.Context) {
	p := &r.ports
	p.local = r.cfg.Local
	server, ok := r.observeMapping(ctx)
	if !ok {
		return
	}
	r.observeAgain(ctx, server)
	for range r.cfg.Mappings {
		pause(ctx, pace)
		if !r.observeFresh(ctx, server) || ctx.Err() != nil {
			return
		}
	}
}

// observeMapping compares servers (RFC 5780 section 4.3): those of the
// configuration, and where one names another address, its two ports there.
func (r *run) observeMapping(ctx context.Context) (first netip.AddrPort, ok bool) {
	p := &r.ports
	queue := slices.Clone(r.cfg.Servers)
	named := len(queue)
	asked := map[netip.AddrPort]bool{}
	const most = 6 // connections
	for i := 0; i < len(queue) && len(asked) < most && ctx.Err() == nil; i++ {
		if asked[queue[i]] {
			continue
		}
		asked[queue[i]] = true
		h, err := r.observe(ctx, p.local, queue[i])
		if err != nil {
			if i < named { // else a guess
				r.fail(err)
			}
			continue
		}
		if !ok {
			first, ok = queue[i], true
			queue = append(queue, others(queue[i], h.Other)...)
		}
		p.local, p.reflexive = h.Local, h.Reflexive
		p.seen = append(p.seen, h)
	}
	return first, ok
}

// others are the endpoints of a server that has a second address (RFC 5780
// section 6).
func others(server, other netip.AddrPort) []netip.AddrPort {
	if !other.IsValid() || other.Port() == 0 || other.Addr().Is4() != server.Addr().Is4() {
		return nil
	}
	list := []netip.AddrPort{netip.AddrPortFrom(other.Addr(), server.Port()), other}
	return slices.DeleteFunc(list, func(a netip.AddrPort) bool { return a == server })
}

// observeFresh observes a new local port.
func (r *run) observeFresh(ctx context.Context, server netip.AddrPort) bool {
	h, err := r.observe(ctx, r.anyPort(), server)
	if err != nil {
		return false
	}
	r.ports.seen = append(r.ports.seen, h)
	return true
}

// observeLast makes what is foretold of the next mapping start now.
func (r *run) observeLast(ctx context.Context) {
	if n := len(r.ports.seen); n > 0 && ctx.Err() == nil {
		r.observeFresh(ctx, r.ports.seen[n-1].Server)
	}
}

// observeAgain connects twice from one local port to one server. The server
// must be the one to close: else this end stays in TIME-WAIT, and cannot
// connect again. Ours closes after its share of requests; from others that stay
// open nothing is learned.
func (r *run) observeAgain(ctx context.Context, server netip.AddrPort) {
	p := &r.ports
	first, err := r.observe(ctx, r.anyPort(), server)
	if err != nil {
		p.why = err.Error()
		return
	}
	p.seen = append(p.seen, first)
	if err := exhaust(ctx, first); err != nil {
		p.why = "the STUN server does not close the connection first"
		return
	}
	first.Conn.Close()
	second, err := r.observeOnceFree(ctx, first.Local, server)
	if err != nil {
		p.why = err.Error()
		return
	}
	p.seen = append(p.seen, second)
	p.repeated = new(second.Reflexive != first.Reflexive)
}

// observeOnceFree observes a pair of endpoints as soon as the kernel has
// forgotten its former connection: when the other end has acknowledged our FIN.
// Until then it sends nothing.
func (r *run) observeOnceFree(ctx context.Context, local, server netip.AddrPort) (Held, error) {
	const every, tries = 10 * time.Millisecond, 80
	var h Held
	err := error(syscall.EADDRNOTAVAIL)
	for i := 0; i < tries && errors.Is(err, syscall.EADDRNOTAVAIL) && ctx.Err() == nil; i++ {
		pause(ctx, every)
		if h, err = r.observe(ctx, local, server); errors.Is(err, syscall.EADDRNOTAVAIL) {
			r.count.Add(-1)
			r.own.Add(-1)
		}
	}
	return h, err
}

// share is how many requests a connection to our server may carry.
const share = 16

// exhaust sends the rest of the requests that a connection may carry, and
// waits until the server closes it.
func exhaust(ctx context.Context, h Held) error {
	const patience = 500 * time.Millisecond // and a round trip, which the first request took
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { h.Conn.SetDeadline(time.Unix(1, 0)) })()
	var all []byte
	for range share - 1 {
		m, err := stun.Build(stun.TransactionID, stun.BindingRequest)
		if err != nil {
			return err
		}
		all = append(all, m.Raw...)
	}
	if _, err := h.Conn.Write(all); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(h.Conn, share*MaxMessage)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("still open")
	}
	return nil
}
