package rendezvous

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tcppunch/predict/probe"
)

// DialBackSockets is the socket layer with which a coordinator probes NATs. It
// needs no privilege.
type DialBackSockets interface {
	// Ear listens at a fresh port in silence.
	Ear(local netip.Addr) (Ear, error)
	// Dial connects from exactly local (port 0: any), closes again, and says
	// what the SYN met within wait.
	Dial(ctx context.Context, local, to netip.AddrPort, wait time.Duration) (probe.Reached, error)
}

// Ear is a silent port.
type Ear interface {
	Local() netip.AddrPort
	// Heard waits for the next SYN, and says from where it came.
	Heard(ctx context.Context) (netip.AddrPort, error)
	// Refuse makes the port answer SYNs with a reset.
	Refuse() error
	Close() error
}

// What one peer may ask of a dial-back, and when it is over.
const (
	maxDoors   = 8                // of one connection, in all
	maxDials   = 12               // of one connection, in all
	maxPending = 8                // requests of one connection at work
	maxWait    = 10 * time.Second // for what a SYN meets
	watchTime  = time.Second      // for a SYN to arrive
)

// probeRequest asks for one step of a probe.
type probeRequest struct {
	ID   uint32         `json:"id"` // of the request, chosen by the peer
	Do   string         `json:"do"`
	Door uint32         `json:"door,omitempty"`    // watch, refuse, dial: the ID of the request that opened it
	To   netip.AddrPort `json:"to,omitzero"`       // dial: a mapping of this peer
	Wait time.Duration  `json:"wait_ns,omitempty"` // dial: for what the SYN meets
}

// The steps.
const (
	stepOpen      = "open"
	stepWatch     = "watch"
	stepRefuse    = "refuse"
	stepDial      = "dial"
	stepElsewhere = "dial-elsewhere"
)

// probeAnswer answers one request.
type probeAnswer struct {
	ID      uint32         `json:"id"`
	Port    uint16         `json:"port,omitempty"`    // open: of the door
	Seen    netip.AddrPort `json:"seen,omitzero"`     // watch: from where a SYN came
	Reached *probe.Reached `json:"reached,omitempty"` // dial, dial-elsewhere
	Failed  string         `json:"failed,omitempty"`  // why there is nothing else
}

// dialBack is what a session has asked for. The zero value is ready.
type dialBack struct {
	mu      sync.Mutex
	ctx     context.Context // ends with the session; nil before the first request
	cancel  context.CancelFunc
	work    sync.WaitGroup
	doors   map[uint32]*door
	dials   int
	pending int
}

// door is a port that a peer has had opened.
type door struct {
	ear  Ear
	seen netip.AddrPort // the SYN that was heard; under dialBack.mu
}

// serve begins a step. The answer is pushed when it is over.
func (b *dialBack) serve(s *session, q probeRequest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx == nil {
		b.ctx, b.cancel = context.WithCancel(context.Background())
		b.doors = map[uint32]*door{}
	}
	if b.pending >= maxPending {
		s.push(message{Probed: &probeAnswer{ID: q.ID, Failed: "too many requests at a time"}})
		return
	}
	b.pending++
	b.work.Go(func() {
		a, err := b.step(s, q)
		a.ID = q.ID
		if err != nil {
			a.Failed = err.Error()
		}
		s.push(message{Probed: &a})
		b.mu.Lock()
		b.pending--
		b.mu.Unlock()
	})
}

// close ends all steps and closes the doors. No step begins afterwards.
func (b *dialBack) close() {
	if b.ctx == nil {
		return
	}
	b.cancel()
	b.work.Wait()
	for _, d := range b.doors {
		d.ear.Close()
	}
}

func (b *dialBack) step(s *session, q probeRequest) (probeAnswer, error) {
	c := s.coordinator
	if c.cfg.DialBack == nil {
		return probeAnswer{}, errors.New("this coordinator does not dial back")
	}
	switch q.Do {
	case stepOpen:
		return b.openDoor(s, q)
	case stepElsewhere:
		from, ok := c.elsewhere(s, q.To)
		if !ok {
			return probeAnswer{}, errors.New("this coordinator has no second address")
		}
		return b.dial(s, netip.AddrPortFrom(from, 0), q, netip.AddrPort{})
	}
	b.mu.Lock()
	d := b.doors[q.Door]
	b.mu.Unlock()
	if d == nil {
		return probeAnswer{}, errors.New("there is no such door")
	}
	switch q.Do {
	case stepWatch:
		return b.watch(s, d)
	case stepRefuse:
		return probeAnswer{}, d.ear.Refuse()
	case stepDial:
		b.mu.Lock()
		seen := d.seen
		b.mu.Unlock()
		return b.dial(s, d.ear.Local(), q, seen)
	}
	return probeAnswer{}, errors.New("the coordinator does not know this step")
}

// elsewhere is another address of this host than the one at which the peer has
// reached it.
func (c *Coordinator) elsewhere(s *session, to netip.AddrPort) (netip.Addr, bool) {
	i := slices.IndexFunc(c.cfg.Addresses, func(a netip.Addr) bool { return a != s.local && a.Is4() == to.Addr().Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return c.cfg.Addresses[i], true
}

func (b *dialBack) openDoor(s *session, q probeRequest) (probeAnswer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.doors) >= maxDoors || b.doors[q.ID] != nil {
		return probeAnswer{}, errors.New("no more doors for this connection")
	}
	ear, err := s.coordinator.cfg.DialBack.Ear(s.local)
	if err != nil {
		return probeAnswer{}, err
	}
	b.doors[q.ID] = &door{ear: ear}
	return probeAnswer{Port: ear.Local().Port()}, nil
}

// watch waits for a SYN from an address of the peer's, whatever its port: what
// another host sends here is not the peer's business.
func (b *dialBack) watch(s *session, d *door) (probeAnswer, error) {
	ctx, cancel := context.WithTimeout(b.ctx, watchTime)
	defer cancel()
	for known := s.coordinator.from(s); ; {
		seen, err := d.ear.Heard(ctx)
		if err != nil {
			return probeAnswer{}, fmt.Errorf("the coordinator saw no SYN: %w", err)
		}
		if known(seen) {
			b.mu.Lock()
			d.seen = seen
			b.mu.Unlock()
			return probeAnswer{Seen: seen}, nil
		}
	}
}

// from says whether an endpoint has an address at which a completed connection
// of the session was seen.
func (c *Coordinator) from(s *session) func(netip.AddrPort) bool {
	c.mu.Lock()
	known := slices.Clone(s.reflexive)
	c.mu.Unlock()
	return func(a netip.AddrPort) bool {
		return slices.ContainsFunc(known, func(k netip.AddrPort) bool { return k.Addr() == a.Addr() })
	}
}

// dial connects to a mapping of the peer's: one at which a completed connection
// was seen, or the one from which a SYN came to the same door, whose address is
// that of such a connection. So nobody can aim a coordinator at a stranger.
func (b *dialBack) dial(s *session, from netip.AddrPort, q probeRequest, seen netip.AddrPort) (probeAnswer, error) {
	c := s.coordinator
	if !c.observed(s, q.To) && (q.To != seen || !seen.IsValid()) {
		return probeAnswer{}, fmt.Errorf("%v is no address of a completed connection of this peer", q.To)
	}
	b.mu.Lock()
	b.dials++
	spent := b.dials > maxDials
	b.mu.Unlock()
	if spent || !c.dials.take(q.To.Addr(), c.cfg.Now()) {
		return probeAnswer{}, errors.New("the coordinator has dialled enough for this network; try again in a minute")
	}
	ctx, cancel := context.WithTimeout(b.ctx, maxWait)
	defer cancel()
	reached, err := c.cfg.DialBack.Dial(ctx, from, q.To, min(max(q.Wait, 0), maxWait))
	if err != nil {
		return probeAnswer{}, err
	}
	return probeAnswer{Reached: &reached}, nil
}

func (c *Coordinator) observed(s *session, to netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(s.reflexive, to)
}
