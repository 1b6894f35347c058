package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tcppunch/predict"
)

// Config says whom to ask, and how far. Network and Servers are needed.
type Config struct {
	Network  Network
	Servers  []netip.AddrPort // STUN servers of one address family, in the order in which to ask
	Username string           // for the servers; see Observe
	Local    netip.AddrPort   // the port of the coming punch; port 0: any
	Back     DialBack         // nil: only what STUN can tell
	Hold     time.Duration    // how long to wait for the answer to an unsolicited SYN; 0 means DefaultHold
	Mappings int              // local ports of which one mapping each is observed; 0 means 8
	Brief    bool             // leave out what takes seconds: crossing, reset, hairpin, held SYNs
}

const (
	// DefaultHold is a little more than the 6 s for which a NAT may hold an
	// unsolicited SYN before it answers (RFC 5382 section 4.3, REQ-4).
	DefaultHold = 6800 * time.Millisecond
	// heldAtLeast separates an answer that was held back from one that came at
	// once over a long path.
	heldAtLeast = 4 * time.Second
	briefWait   = 700 * time.Millisecond
	// oneSYN is how long an attempt sends no second SYN: the kernel's first
	// retransmission comes after a second (RFC 6298 section 2.1).
	oneSYN = 900 * time.Millisecond
	// pace separates the observations of ports, so that foreign mappings show.
	pace            = 30 * time.Millisecond
	defaultMappings = 8
)

// ErrNoServer means that no server could be asked at all.
var ErrNoServer = errors.New("no STUN server answered")

// Run measures the NAT in front of this host. A server or a partner that does
// not answer leaves null in the report; the error is for when none did, or ctx
// ended. Everything that it opened is closed when it returns.
//
// The order: a connection from a port of its own, to which the partner then
// dials back and waits; meanwhile the crossing, the reset and the hairpin, each
// on ports of its own, so that no test sees what another left in the NAT; then,
// with nothing else under way, the mappings from which the ports are inferred,
// those of the port of the coming punch first, and where it is in doubt the
// reset once more; at last, when all waits are over,
// one more mapping, from which the next ports are foretold.
func Run(ctx context.Context, cfg Config) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newRun(cfg)
	defer r.close()
	if cfg.Brief {
		r.cfg.Hold = briefWait
	}
	r.measure(ctx)
	if err := ctx.Err(); err != nil {
		return Report{}, context.Cause(ctx)
	}
	if len(r.ports.seen) == 0 {
		return r.conclude(), errors.Join(ErrNoServer, errors.Join(r.failed...))
	}
	return r.conclude(), nil
}

func newRun(cfg Config) *run {
	if cfg.Hold == 0 {
		cfg.Hold = DefaultHold
	}
	if cfg.Mappings == 0 {
		cfg.Mappings = defaultMappings
	}
	return &run{cfg: cfg, began: time.Now(), filter: filterResult{judged: make(chan struct{})}, alone: make(chan struct{})}
}

// run is the state of one probe. The tests that run beside each other write to
// fields of their own, by note where somebody may look before they are over.
type run struct {
	cfg      Config
	began    time.Time
	incoming bool         // the tests by dial-back alone
	count    atomic.Int64 // attempts of both sides
	own      atomic.Int64 // those that began here

	alone chan struct{} // closed when only waits are under way: no test makes mappings any more

	sending sync.RWMutex
	hushed  bool // no SYN may leave any more

	filter   filterResult
	crossing crossingResult
	reset    resetResult
	hairpin  hairpinResult
	ports    portsResult

	mu     sync.Mutex // guards what follows, and the results by dial-back until their tests are over
	conns  []net.Conn
	failed []error
}

func (r *run) measure(ctx context.Context) {
	var waits, sends sync.WaitGroup // sends: those after which no SYN of ours disturbs the ports
	waits.Go(func() { r.testFilter(ctx) })
	if !r.cfg.Brief {
		sends.Add(1)
		waits.Go(func() { r.testReset(ctx, sends.Done) })
		sends.Go(func() { r.testCrossing(ctx) })
		sends.Go(func() { r.testHairpin(ctx) })
	}
	sends.Wait()
	r.observePorts(ctx)
	close(r.alone)
	waits.Wait()
	r.observeLast(ctx)
}

// observe is Observe within PerServer; it keeps the connection open until the
// run is over.
func (r *run) observe(ctx context.Context, local, server netip.AddrPort) (Held, error) {
	if err := r.allowed(); err != nil {
		return Held{}, err
	}
	r.count.Add(1)
	r.own.Add(1)
	h, err := observeWithin(ctx, PerServer, r.cfg.Network, local, server, r.cfg.Username)
	if err == nil {
		r.keep(h.Conn)
	}
	return h, err
}

// note writes down what a test has found.
func (r *run) note(write func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	write()
}

func (r *run) keep(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
}

func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, err)
}

func (r *run) close() {
	for _, c := range r.conns {
		c.Close()
	}
}

// anyPort is this host's address with a port of the system's choice.
func (r *run) anyPort() netip.AddrPort { return netip.AddrPortFrom(r.cfg.Local.Addr(), 0) }

// serverAt is a STUN server at the address of the partner's doors, or else the
// first server.
func (r *run) serverAt(host netip.Addr) (server netip.AddrPort, same bool) {
	for _, s := range r.cfg.Servers {
		if s.Addr() == host {
			return s, true
		}
	}
	return r.cfg.Servers[0], false
}

// allowed is an error once no SYN may leave any more.
func (r *run) allowed() error {
	r.sending.RLock()
	defer r.sending.RUnlock()
	if r.hushed {
		return errHushed
	}
	return nil
}

// start is Network.Start, counted.
func (r *run) start(local, remote netip.AddrPort) (Attempt, error) {
	r.sending.RLock()
	defer r.sending.RUnlock()
	if r.hushed {
		return nil, errHushed
	}
	r.count.Add(1)
	r.own.Add(1)
	return r.cfg.Network.Start(local, remote)
}

// pause waits, unless ctx ends before.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func behaviorOf(list []Held) predict.Behavior {
	obs := make([]predict.Observation, 0, len(list))
	for _, h := range list {
		obs = append(obs, h.Observation)
	}
	return predict.Classify(obs)
}
