package punch

import (
	"context"

	"tcppunch/timing"
)

// fireLow carries out a low-ttl volley, as lowTTL does with a single pair: SYNs
// that open this side's NAT and die before the peer's, and after a while, where
// it is this side that is in earnest, the real ones from the same ports. The other
// side's sockets, still in SYN-SENT, answer.
func (v *volleys) fireLow(ctx context.Context, pad Launchpad, runners []*runner, earnest bool) error {
	low := SocketOptions{TTL: v.dyingTTL(v.pair.Remote.Addr.Addr()), MinTTL: immuneMinTTL, SYNCount: 1}
	if err := setAll(runners, low); err != nil {
		return err
	}
	if err := v.fire(ctx, v.plan, pad, v.plan.at.Add(v.cfg.Late), runners...); err != nil {
		return err
	}
	ready := v.leftAt(v.plan, v.plan.at, runners...).Add(v.plan.lowTTLGap())
	if !earnest {
		if err := timing.Wait(ctx, ready.Add(-v.plan.lowTTLSlack())); err != nil {
			return err
		}
		return setAll(runners, SocketOptions{SYNCount: 1})
	}
	for _, r := range runners {
		v.settle(v.plan, r, context.Canceled)
		r.options = SocketOptions{SYNCount: 1}
		if err := v.replace(r); err != nil {
			return err
		}
	}
	return v.fire(ctx, v.plan, pad, ready, runners...)
}

func setAll(runners []*runner, o SocketOptions) error {
	for _, r := range runners {
		r.options = o
		if err := r.socket.Set(o); err != nil {
			return err
		}
	}
	return nil
}
