package probe

import (
	"context"
	"sync"
	"time"
)

// hairpinResult is whether two local ports connected by their outside
// endpoints.
type hairpinResult struct {
	tried, hit bool
	why        string
}

// testHairpin lets two local ports connect to each other's outside endpoints
// at the same time, with somebody listening at both (RFC 5382 section 7.2): so
// a filter that asks for a SYN from inside is no obstacle. Towards the NAT
// itself a mapping that depends on the destination has another port, which
// nobody can know; then only a filter for all lets the SYN through.
func (r *run) testHairpin(ctx context.Context) {
	h := &r.hairpin
	a, err := r.hairpinEnd(ctx)
	if err != nil {
		h.why = err.Error()
		return
	}
	defer a.box.close()
	b, err := r.hairpinEnd(ctx)
	if err != nil {
		h.why = err.Error()
		return
	}
	defer b.box.close()
	h.tried = true
	h.hit = r.meet(ctx, a, b)
}

type hairpinEnd struct {
	Held
	box *inbox
}

func (r *run) hairpinEnd(ctx context.Context) (e hairpinEnd, err error) {
	if e.Held, err = r.observe(ctx, r.anyPort(), r.cfg.Servers[0]); err != nil {
		return e, err
	}
	e.box, err = r.openInbox(ctx, e.Local)
	return e, err
}

// meet waits longer than a second, for the SYN of the later side lets in only
// the second SYN of the other.
func (r *run) meet(ctx context.Context, a, b hairpinEnd) bool {
	const secondSYN = 1300 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, secondSYN)
	defer cancel()
	var both sync.WaitGroup
	var stands [2]bool
	for i, end := range [][2]hairpinEnd{{a, b}, {b, a}} {
		attempt, err := r.start(end[0].Local, end[1].Reflexive)
		if err != nil {
			continue
		}
		both.Go(func() {
			defer attempt.Close()
			stands[i] = attempt.Wait(ctx) == nil
			if stands[i] {
				cancel()
			}
		})
	}
	both.Wait()
	return stands[0] || stands[1]
}
