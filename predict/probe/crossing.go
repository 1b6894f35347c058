package probe

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// crossingResult is what became of a SYN that crossed ours.
type crossingResult struct {
	letIn  *bool
	seen   bool  // the partner saw our SYN
	unseen error // if not: why not; the mapping was that towards a STUN server
	why    string
}

// resetResult is what a RST left of the hole that our SYN had made.
type resetResult struct {
	survives *bool
	after    reply // what the next SYN met
	seen     bool  // the partner saw our SYN
	unseen   error // if not: why not; the mapping was that towards a STUN server
	why      string
}

// slowest is the round trip beyond which a crossing that fails proves nothing:
// the kernel's second SYN would leave before the first could be answered.
const slowest = 400 * time.Millisecond

// testCrossing lets a SYN of the partner meet one of ours (RFC 5382 section
// 4.2, REQ-2). First a SYN that the partner hears in silence tells it the mapping
// towards it. Then we send another through the same mapping, and it connects
// from the port to which that goes: all within the second in which the kernel
// sends no other SYN, so that no SYN-ACK of the partner's can pass for a SYN that
// was let in. Silence may be a loss, and is tried twice.
func (r *run) testCrossing(ctx context.Context) {
	letIn, err := r.crossTwice(ctx)
	r.note(func() {
		r.crossing.letIn = letIn
		if err != nil {
			r.crossing.why = err.Error()
		}
	})
}

// crossTwice makes the second try beside the first where there will be no time
// for it afterwards.
func (r *run) crossTwice(ctx context.Context) (letIn *bool, err error) {
	if !r.incoming {
		letIn, silent, err := r.cross(ctx)
		if silent {
			letIn, _, err = r.cross(ctx)
		}
		return letIn, err
	}
	var other *bool
	var both sync.WaitGroup
	both.Go(func() { other, _, _ = r.cross(ctx) })
	letIn, _, err = r.cross(ctx)
	both.Wait()
	switch {
	case other != nil && *other:
		return other, nil
	case letIn != nil && !*letIn && other == nil:
		return nil, errHushed // one SYN may be lost
	}
	return letIn, err
}

// Reasons why a crossing tells nothing.
var (
	errSlow  = errors.New("the round trip to the coordinator is too long")
	errStead = errors.New("something on the path answered the coordinator in this host's stead")
)

// cross is one try; silent means that nothing answered the partner's SYN.
func (r *run) cross(ctx context.Context) (letIn *bool, silent bool, err error) {
	d, err := r.knock(ctx, r.anyPort())
	if err != nil {
		return nil, false, err
	}
	r.note(func() { r.crossing.seen, r.crossing.unseen = d.unseen == nil, d.unseen })
	a, err := r.start(d.local, d.remote)
	if err != nil {
		return nil, false, err
	}
	defer a.Close()
	r.count.Add(1)
	reached, err := d.door.Dial(ctx, d.seen, oneSYN-200*time.Millisecond)
	switch {
	case err != nil:
		return nil, false, err
	case reached.Answer != Connected && d.roundTrip > slowest:
		return nil, false, errSlow
	case reached.Answer != Connected:
		return new(false), reached.Answer == Silent, nil
	}
	ctx, cancel := context.WithTimeout(ctx, oneSYN)
	defer cancel()
	if a.Wait(ctx) != nil {
		return nil, false, errStead
	}
	return new(true), false, nil
}

// knocked is a door to which a SYN of ours has gone.
type knocked struct {
	door          Door
	local, remote netip.AddrPort
	seen          netip.AddrPort // our mapping towards the door
	unseen        error          // why the partner did not see it, and it is that towards a STUN server
	roundTrip     time.Duration  // to the partner, at most
}

var errNoPartner = errors.New("it takes a coordinator that dials back")

// knock opens a door and sends a SYN to it from local, so that both sides know
// the mapping. Where the partner sees no packets, a STUN server says what the
// mapping is if it does not depend on the destination.
func (r *run) knock(ctx context.Context, local netip.AddrPort) (k knocked, err error) {
	if r.cfg.Back == nil {
		return k, errNoPartner
	}
	asked := time.Now()
	if k.door, err = r.cfg.Back.Open(ctx); err != nil {
		return k, err
	}
	k.roundTrip = time.Since(asked)
	k.remote = netip.AddrPortFrom(r.cfg.Back.Host(), k.door.Port())
	a, err := r.start(local, k.remote)
	if err != nil {
		return k, err
	}
	k.local = a.Local()
	k.seen, k.unseen = k.door.Watch(ctx)
	a.Close() // in SYN-SENT, so that nothing leaves
	if k.unseen == nil {
		return k, nil
	}
	server, _ := r.serverAt(r.cfg.Back.Host())
	held, err := r.observe(ctx, k.local, server)
	k.seen = held.Reflexive
	return k, err
}

// testReset lets a SYN of ours be answered by a reset, and then the partner
// connect back to where it came from (RFC 5382 leaves open what a RST does to a
// mapping; hole punching depends on it). sent is called when no SYN of ours
// will follow while others are under way. Where the mapping is gone, its port
// may serve another mapping of this host by then, whose host answers with a
// reset: such an answer counts only once nothing else is under way.
func (r *run) testReset(ctx context.Context, sent func()) {
	t, err := r.tryReset(ctx, sent)
	if err == nil && t.after.known && t.after.Answer == Refused && !r.incoming {
		<-r.alone
		t, err = r.tryReset(ctx, func() {})
	}
	r.note(func() {
		if r.reset = t; err != nil {
			r.reset.why = err.Error()
		}
	})
}

func (r *run) tryReset(ctx context.Context, sent func()) (t resetResult, err error) {
	k, box, reset, err := r.provoke(ctx)
	sent()
	if box != nil {
		defer box.close()
	}
	if err != nil {
		return t, err
	}
	t = resetResult{seen: k.unseen == nil, unseen: k.unseen}
	t.after = r.reply(ctx, box, func() (Reached, error) { return k.door.Dial(ctx, k.seen, r.afterReset()) })
	switch {
	case !t.after.known:
		t.why = "the coordinator's dial-back failed"
	case !reset && !t.after.in():
		t.why = "no reset came back"
	default:
		t.survives = new(t.after.in())
	}
	return t, nil
}

// provoke asks for a reset for a SYN of ours, and says whether it came: a NAT
// may keep it for itself.
func (r *run) provoke(ctx context.Context) (k knocked, box *inbox, reset bool, err error) {
	if box, err = r.openInbox(ctx, r.anyPort()); err != nil {
		return k, nil, false, err
	}
	if k, err = r.knock(ctx, box.local()); err != nil {
		return k, box, false, err
	}
	if err = k.door.Refuse(ctx); err != nil {
		return k, box, false, err
	}
	a, err := r.start(k.local, k.remote)
	if err != nil {
		return k, box, false, err
	}
	defer a.Close()
	ctx, cancel := context.WithTimeout(ctx, oneSYN)
	defer cancel()
	return k, box, errors.Is(a.Wait(ctx), syscall.ECONNREFUSED), nil
}

// afterReset is how long the answer to the next SYN is waited for: long where
// this is the only SYN that a filter for all can refuse.
func (r *run) afterReset() time.Duration {
	const twoMore = 2500 * time.Millisecond // retransmissions
	if r.incoming {
		return twoMore
	}
	<-r.filter.judged
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.filter.address.in() {
		return r.cfg.Hold
	}
	return twoMore
}
