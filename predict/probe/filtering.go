package probe

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"tcppunch/predict/nat"
)

// filterResult is what SYNs met that came to a mapping unasked for.
type filterResult struct {
	tried    bool
	asked    time.Time      // when the dial-backs were asked for
	patience time.Duration  // after which silence counts, so far
	judged   chan struct{}  // closed when that is over, or the test
	mapped   netip.AddrPort // the mapping
	local    netip.AddrPort
	port     reply // from the address that was sent to, another port
	address  reply // from another address
	closed   reply // without a translator: nobody listens any more
	occupied *bool // a SYN that got a reset took the endpoints for itself
	stopped  bool  // our SYN to the door that had got a reset did not arrive
	why      string
}

// reply is one dial-back as both sides saw it.
type reply struct {
	Reached
	known bool // the dial-back was carried out, and this side does not contradict it
	over  bool // it is not under way any more
}

func (a reply) in() bool      { return a.known && a.Answer == Connected }
func (a reply) refused() bool { return a.known && a.Answer != Connected }

// testFilter dials back to a mapping that has been sent from to one endpoint
// only: from another port of the same address, and from another address (the
// tests II and III of RFC 5780 section 4.4, the other way round).
func (r *run) testFilter(ctx context.Context) {
	f := &r.filter
	judged := sync.OnceFunc(func() { close(f.judged) })
	defer judged()
	if err := r.dialBack(ctx, judged); err != nil {
		r.note(func() { f.why = err.Error() })
	}
}

var errElsewhere = errors.New("no STUN server shares the coordinator's address")

// dialBack calls judged when an answer could have come.
func (r *run) dialBack(ctx context.Context, judged func()) error {
	f := &r.filter
	if r.cfg.Back == nil {
		return errNoPartner
	}
	server, same := r.serverAt(r.cfg.Back.Host())
	if !same {
		return errElsewhere
	}
	held, err := r.observe(ctx, r.anyPort(), server)
	if err != nil {
		return err
	}
	box, err := r.openInbox(ctx, held.Local)
	if err != nil {
		return err
	}
	defer box.close()
	began := time.Now()
	door, err := r.cfg.Back.Open(ctx)
	if err != nil {
		return err
	}
	patience := patienceFor(time.Since(began))
	r.note(func() {
		f.tried, f.asked, f.patience = true, time.Now(), patience
		f.mapped, f.local = held.Reflexive, held.Local
	})
	defer time.AfterFunc(patience, judged).Stop()
	r.dialBoth(ctx, box, door)
	return nil
}

func (r *run) dialBoth(ctx context.Context, box *inbox, door Door) {
	f := &r.filter
	var both sync.WaitGroup
	both.Go(func() {
		port := r.reply(ctx, box, func() (Reached, error) { return door.Dial(ctx, f.mapped, r.cfg.Hold) })
		r.note(func() { f.port = port })
		if port.known && port.Answer == Refused {
			r.testOccupied(ctx, door)
		}
	})
	both.Go(func() {
		address := r.reply(ctx, box, func() (Reached, error) { return r.cfg.Back.DialElsewhere(ctx, f.mapped, r.cfg.Hold) })
		r.note(func() { f.address = address })
	})
	both.Wait()
	if f.port.in() && f.mapped == f.local {
		box.close()
		r.testClosed(ctx)
	}
}

// patienceFor is how long the answer to a dial-back may take on a path with this
// round trip: the request, the SYN, its answer and the report of it are two.
func patienceFor(roundTrip time.Duration) time.Duration {
	return min(max(3*roundTrip+50*time.Millisecond, 150*time.Millisecond), briefWait)
}

// reply carries out a dial-back. A connection counts only if it arrived here.
func (r *run) reply(ctx context.Context, box *inbox, dial func() (Reached, error)) reply {
	r.count.Add(1)
	reached, err := dial()
	if err != nil || reached.Answer == AnswerUnknown {
		return reply{over: true}
	}
	const underway = 500 * time.Millisecond // the last step of a handshake that the other side has finished
	arrived := reached.Answer != Connected || box != nil && box.got(ctx, reached.Port, underway)
	return reply{Reached: reached, known: arrived, over: true}
}

// testOccupied sends a SYN to the door that has just got a reset: where the NAT
// has taken the door's SYN itself, the mapping cannot be used towards it, and
// ours leaves from another one or not at all. It is watched for twice, so that
// the kernel's second SYN makes up for a loss.
func (r *run) testOccupied(ctx context.Context, door Door) {
	f := &r.filter
	a, err := r.start(f.local, netip.AddrPortFrom(r.cfg.Back.Host(), door.Port()))
	if err != nil {
		return
	}
	defer a.Close()
	for range 2 {
		seen, err := door.Watch(ctx)
		r.note(func() {
			if f.stopped = err != nil; !f.stopped {
				f.occupied = new(seen != f.mapped)
			}
		})
		if err == nil {
			return
		}
	}
}

// testClosed finds out how a host without a translator answers where it does
// not listen.
func (r *run) testClosed(ctx context.Context) {
	if door, err := r.cfg.Back.Open(ctx); err == nil {
		closed := r.reply(ctx, nil, func() (Reached, error) { return door.Dial(ctx, r.filter.mapped, r.cfg.Hold) })
		r.note(func() { r.filter.closed = closed })
	}
}

// filtering applies the definitions of RFC 4787 section 5.
func (f *filterResult) filtering() nat.Filtering {
	switch {
	case f.address.in(): // nothing was sent there; a SYN from the other port that was not answered is lost
		return nat.FilterEndpointIndependent
	case f.port.refused():
		return nat.FilterAddressAndPortDependent
	case f.port.in() && f.address.refused():
		return nat.FilterAddressDependent
	}
	return nat.FilteringUnknown
}

// soFar takes a dial-back for silent that is still under way, once an answer
// could have come.
func (f *filterResult) soFar(a reply, now time.Time) reply {
	if waited := now.Sub(f.asked); f.tried && !a.over && waited >= f.patience {
		return reply{Reached: Reached{Answer: Silent, After: waited}, known: true}
	}
	return a
}

// unsolicited words the answer that a refused SYN got. Silence is silence only
// if it lasted longer than a NAT may hold a SYN.
func (f *filterResult) unsolicited(a reply) nat.Unsolicited {
	if !a.refused() {
		return nat.UnsolicitedUnknown
	}
	switch {
	case a.Answer == Refused && f.occupied != nil && *f.occupied:
		return nat.Poison
	case a.Answer == Refused:
		return nat.Reset
	case a.Answer == Unreachable && a.After >= heldAtLeast:
		return nat.Hold
	case a.Answer == Unreachable:
		return nat.Unreachable
	case a.Answer == Silent && a.After >= DefaultHold:
		return nat.Drop
	}
	return nat.UnsolicitedUnknown
}
