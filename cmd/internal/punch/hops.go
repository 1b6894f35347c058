package punch

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"tcppunch/cmd/internal/rendezvous"
)

// lowTTLHops is how far a SYN goes that is to die between the NATs, where nothing
// is known: through the NAT of a home or an office, and not to the peer's.
const lowTTLHops = 2

// LowTTL is how far the SYNs go that are to die between the NATs, and how this
// peer came to that.
type LowTTL struct {
	TTL   int      `json:"ttl"`
	Basis TTLBasis `json:"basis"`
	Hops  []Hop    `json:"hops"` // in the order of their TTL; empty where none was asked
}

// TTLBasis says what a TTL rests on.
type TTLBasis string

// The bases.
const (
	TTLProbed  TTLBasis = "probed"  // the routers' own words
	TTLAssumed TTLBasis = "assumed" // these told nothing
	TTLGiven   TTLBasis = "given"   // the user's
)

// Hop is what became of a SYN that was to die on the way to a STUN server.
type Hop struct {
	TTL  int         `json:"ttl"`
	From *netip.Addr `json:"from"` // the router that says so; nil: none did in time
}

// passing is the least TTL with which a SYN passes all of this side's NATs, as
// far as the addresses of the routers tell: it dies at the first one outside, or
// behind the last one inside. outside is this peer's own address as the servers
// see it; a router that bears it is the outermost NAT itself. Where the servers
// are inside of another network nothing else can be told from addresses.
func passing(hops []Hop, outside netip.Addr) (ttl int, known bool) {
	last := 0
	for _, h := range hops {
		switch {
		case h.From == nil:
		case *h.From == outside:
			return h.TTL + 1, true
		case inner(outside):
		case inner(*h.From):
			last = h.TTL
		default:
			return max(h.TTL, lowTTLHops), h.TTL > 1
		}
	}
	return max(last+1, lowTTLHops), last > 0
}

// inner are addresses that stand behind a translator: private ones, those
// between a carrier and its customers, and those of single links (192.0.0.0/24,
// RFC 6333 section 5.7; 169.254.0.0/16).
func inner(a netip.Addr) bool {
	switch rendezvous.ClassOf(a) {
	case rendezvous.Private, rendezvous.Shared, rendezvous.Forbidden:
		return true
	}
	return false
}

const (
	// mostHops bounds the walk: a home's router and a carrier's are rarely more
	// than a few routers apart.
	mostHops = 8
	// hopPace is how long a router's word is waited for before the next one is
	// asked. A later word still counts.
	hopPace = 60 * time.Millisecond
	// walkLeft is what a walk still gets when all else waits for it.
	walkLeft = 200 * time.Millisecond
)

// walk asks the routers on the way to a server where they are, one after the
// other from the nearest, until one is outside: each by a SYN of a socket of its
// own that dies there.
type walk struct {
	cancel context.CancelFunc
	over   chan struct{}
	looks  sync.WaitGroup

	mu      sync.Mutex
	hops    []Hop
	sent    int
	reached bool // the server has answered: there are no routers further away
}

// startWalk begins beside the wait for the peer, where this host may choose a TTL.
// Only IPv4 has NATs to pass.
func (m *meeting) startWalk(ctx context.Context) {
	servers := only(m.servers, netip.Addr.Is4)
	if m.overUDP() || !m.cfg.MinTTL || m.cfg.LowTTL != 0 || len(servers) == 0 || m.cfg.Strategy == rendezvous.Listen || m.cfg.Strategy == rendezvous.Reverse {
		return
	}
	host, err := sourceAddress(servers[0])
	if err != nil || !inner(host) {
		return // without a translator before it
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &walk{cancel: cancel, over: make(chan struct{})}
	m.walk = w
	go w.run(ctx, func(ctx context.Context, ttl int) (netip.Addr, error) {
		return m.cfg.Network.Hop(ctx, host, servers[0], ttl)
	})
}

// run asks on until a router outside has answered, or the server itself.
func (w *walk) run(ctx context.Context, ask func(ctx context.Context, ttl int) (netip.Addr, error)) {
	defer close(w.over)
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	for ttl := 1; ttl <= mostHops && ctx.Err() == nil && w.next(ttl); ttl++ {
		answered := make(chan struct{})
		w.looks.Go(func() {
			defer close(answered)
			ctx, cancel := context.WithTimeout(ctx, beforeRetransmission)
			defer cancel()
			if from, err := ask(ctx, ttl); err == nil && w.note(ttl, from) {
				enough()
			}
		})
		select {
		case <-answered:
		case <-time.After(hopPace):
		case <-ctx.Done():
		}
	}
	w.looks.Wait() // for late words
}

// next makes room for a router's word, unless the server is nearer.
func (w *walk) next(ttl int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reached {
		return false
	}
	w.hops, w.sent = append(w.hops, Hop{TTL: ttl}), w.sent+1
	return true
}

// note writes a router's word down, and says whether it stands outside, so that
// no other one matters. An invalid address is the server's own answer.
func (w *walk) note(ttl int, from netip.Addr) (outside bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !from.IsValid():
		w.reached, w.hops = true, w.hops[:min(ttl-1, len(w.hops))]
	case ttl <= len(w.hops):
		w.hops[ttl-1].From = &from
		return !inner(from)
	}
	return false
}

// end waits a little for what is still under way. No SYN of the walk leaves
// afterwards.
func (w *walk) end() {
	select {
	case <-w.over:
	case <-time.After(walkLeft):
	}
	w.cancel()
	<-w.over
}

// endWalk closes the walk, where there was one, and keeps what it has shown.
func (m *meeting) endWalk() {
	if m.walk == nil {
		return
	}
	m.walk.end()
	m.hops = m.walk.hops
	m.report.SYNsProbing += m.walk.sent
	m.walk = nil
	m.trace(Predict, "the way out: %s", wayOf(m.hops))
}

func wayOf(hops []Hop) string {
	var words []string
	for _, h := range hops {
		word := "silence"
		if h.From != nil {
			word = h.From.String()
		}
		words = append(words, word)
	}
	if len(words) == 0 {
		return "no router"
	}
	return strings.Join(words, ", ")
}

// dyingTTL is the TTL of a SYN to an address that is to die on the way. The
// report says so from then on.
func (m *meeting) dyingTTL(remote netip.Addr) int {
	l := m.lowTTLTo(remote)
	m.attempts.Lock()
	defer m.attempts.Unlock()
	m.report.LowTTL = &l
	return l.TTL
}

// dying are the TTL of such a SYN, and the least with which a segment is heard
// meanwhile: just so much that the kernel passes over the ICMP error that reports
// the SYN's end, because that quotes it with a TTL below, and hears the peer.
func (m *meeting) dying(remote netip.Addr) (ttl, minTTL int) {
	ttl = m.dyingTTL(remote)
	return ttl, min(ttl+1, 255)
}

func (m *meeting) lowTTLTo(remote netip.Addr) LowTTL {
	l := LowTTL{TTL: lowTTLHops, Basis: TTLAssumed, Hops: append([]Hop{}, m.hops...)}
	if m.cfg.LowTTL != 0 {
		l.TTL, l.Basis = m.cfg.LowTTL, TTLGiven
	} else if m.report.Reflexive != nil && remote.Is4() {
		if ttl, known := passing(m.hops, m.report.Reflexive.Addr()); known {
			l.TTL, l.Basis = ttl, TTLProbed
		}
	}
	return l
}
