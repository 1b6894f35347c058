package rawsock

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Ear is a local port that SYNs meet in silence, and that tells from where they
// came. The silence is a Guard's and needs no privilege, the telling needs
// CAP_NET_RAW. Sockets of this package may share the port.
type Ear struct {
	guard   *Guard
	packets *receiver // nil where it is not allowed
	refused error     // why not
	held    *Socket   // after Refuse
}

// OpenEar guards a local endpoint and listens to it until Close. With port 0
// the kernel chooses one.
func OpenEar(local netip.AddrPort) (*Ear, error) {
	guard, err := OpenGuard(local)
	if err != nil {
		return nil, err
	}
	e := &Ear{guard: guard}
	e.packets, e.refused = openReceiver(guard.Local(), netip.AddrPort{})
	return e, nil
}

// Local is the endpoint that is listened to.
func (e *Ear) Local() netip.AddrPort { return e.guard.Local() }

// Heard waits for the next SYN, and says from where it came. The error is a
// *PrivilegeError where this process may not see packets.
func (e *Ear) Heard(ctx context.Context) (netip.AddrPort, error) {
	if e.packets == nil {
		return netip.AddrPort{}, fmt.Errorf("listen for SYNs at %v: %w", e.Local(), e.refused)
	}
	for {
		packet, err := e.packets.next(ctx, time.Time{})
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("listen for SYNs at %v: %w", e.Local(), err)
		}
		s, err := ParseSegment(packet)
		if err == nil && s.To == e.Local() && s.Flags.Has(SYN) && !s.Flags.Has(ACK) {
			return s.From, nil
		}
	}
}

// Refuse ends the silence: from now on SYNs meet a reset. The port stays taken.
func (e *Ear) Refuse() error {
	held, err := Open(e.Local(), Options{})
	if err != nil {
		return err
	}
	e.held = held
	return e.guard.Close()
}

// Close lets the port go.
func (e *Ear) Close() error {
	err := e.guard.Close()
	if e.held != nil {
		err = errors.Join(err, e.held.Close())
	}
	if e.packets != nil {
		e.packets.close()
	}
	return err
}
