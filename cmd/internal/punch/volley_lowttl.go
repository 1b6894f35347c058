package punch

import "context"

// fireLow carries out a low-ttl volley, as lowTTL does with a single pair: SYNs
// that open this side's NAT and die before the peer's, and after a while, where
// it is this side that is in earnest, the real ones from the same ports. The other
// side's sockets, still in SYN-SENT, answer.
func (v *volleys) fireLow(ctx context.Context, pad Launchpad, runners []*runner, earnest bool) error {
	low := SocketOptions{SYNCount: 1}
	low.TTL, low.MinTTL = v.dying(v.pair.Remote.Addr.Addr())
	if err := setAll(runners, low); err != nil {
		return err
	}
	if err := v.fire(ctx, v.plan, pad, v.plan.at.Add(v.cfg.Late), runners...); err != nil {
		return err
	}
	if !earnest {
		low.TTL = 0
		return setAll(runners, low)
	}
	ready := v.leftAt(v.plan, v.plan.at, runners...).Add(v.plan.lowTTLGap())
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
