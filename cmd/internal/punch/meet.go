package punch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tcppunch/captures"
	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict/probe"
	"tcppunch/timing"
)

// Result is what a meeting leaves behind. Conn is nil unless the report says
// established; its writing side can be closed by itself.
type Result struct {
	Report  Report
	Conn    net.Conn
	Capture *Capture // nil where nothing was captured
	// Handshake is what the capture shows of the nominated socket, or of the
	// first one; nil where it shows none.
	Handshake *captures.Handshake
}

// failed ends a meeting with a cause: the answer is no.
type failed struct {
	cause Cause
	text  string
}

func (f *failed) Error() string { return f.text }

// meeting is the state of one Meet, from phase to phase.
type meeting struct {
	cfg      Config
	tracing  sync.Mutex
	attempts sync.Mutex // guards report.Attempts while the runners run
	report   Report
	keys     *roleKeys // of an appointment; nil with a coordinator

	client   *rendezvous.Client
	reached  netip.Addr     // of the coordinator
	watch    sync.WaitGroup // goroutines that end with the client
	welcome  rendezvous.Welcome
	presence rendezvous.Presence
	opening  *rendezvous.Opening // of this host's crafted SYN; nil where it may not craft or need not
	met      timing.Instant      // when the presence was known here

	anchors   [2]Socket        // keep the port of the punch and the spare one ours
	fresh     []Socket         // and those of further probes
	held      []probe.Held     // STUN connections, which keep the mappings alive
	soundings []*sounding      // of each address family
	servers   []netip.AddrPort // STUN servers that the coordinator named
	walk      *walk            // the way to a server, while it is being asked for
	hops      []Hop            // what that showed
	incoming  *incoming        // the tests by dial-back; nil where there are none
	stands    atomic.Bool      // TCP stands on one of the sockets
	datagram  *net.UDPConn     // the socket of a meeting over UDP; nil over TCP
	capture   *Capture
	shown     *captures.Handshake
}

// Meet carries out a meeting through a coordinator. The error is for what
// could not be carried out; errors of the coordinator are *rendezvous.Error.
func Meet(ctx context.Context, cfg Config) (Result, error) {
	m := &meeting{cfg: cfg, report: newReport(cfg.Peer)}
	m.report.Transport = cmp.Or(cfg.Transport, rendezvous.TCP)
	defer m.close()
	return m.conclude(m.run(ctx))
}

// conclude makes a report of a failed meeting, and keeps errors for what could
// not be carried out.
func (m *meeting) conclude(conn net.Conn, err error) (Result, error) {
	if m.incoming != nil {
		m.noteIncoming()
		m.report.SYNsProbing += m.incoming.SYNs()
	}
	var no *failed
	switch {
	case errors.As(err, &no):
		m.report.fail(no.cause, no.text)
	case err != nil:
		return Result{}, err
	}
	return Result{Report: m.report, Conn: conn, Capture: m.capture, Handshake: m.shown}, nil
}

func (m *meeting) run(ctx context.Context) (net.Conn, error) {
	if err := m.connect(ctx); err != nil {
		return nil, err
	}
	if err := m.await(ctx); err != nil {
		return nil, err
	}
	offer, err := m.prepare(ctx)
	if err != nil {
		return nil, err
	}
	schedule, attested, err := m.agree(ctx, offer)
	if err != nil {
		return nil, err
	}
	if err := m.promising(schedule); err != nil {
		return nil, err
	}
	if schedule.Volleys {
		return m.volleys(ctx, schedule, attested)
	}
	plan, err := m.plan(schedule, attested)
	if err != nil {
		return nil, err
	}
	return m.launch(ctx, plan)
}

func (m *meeting) close() {
	if m.walk != nil {
		m.walk.cancel()
		m.endWalk()
	}
	if m.incoming != nil {
		m.incoming.Close()
	}
	if m.client != nil {
		m.client.Close()
	}
	m.watch.Wait()
	if m.datagram != nil {
		m.datagram.Close()
	}
	for _, h := range m.held {
		h.Conn.Close()
	}
	for _, a := range append(m.fresh, m.anchors[:]...) {
		if a != nil {
			a.Close()
		}
	}
}

func (m *meeting) trace(phase Phase, format string, args ...any) {
	if m.cfg.Trace != nil {
		m.tracing.Lock()
		defer m.tracing.Unlock()
		m.cfg.Trace(Event{At: m.cfg.Clock.Now().UTC(), Phase: phase, Text: fmt.Sprintf(format, args...)})
	}
}

// connect reaches the coordinator and claims the name.
func (m *meeting) connect(ctx context.Context) (err error) {
	m.client, err = rendezvous.Dial(ctx, m.cfg.Coordinator, m.cfg.Identity, m.cfg.Clock)
	if err != nil {
		return err
	}
	m.reached = m.client.Remote().Addr()
	if err := m.wantsToCraft(); err != nil {
		return err
	}
	if m.welcome, err = m.client.Register(ctx, m.cfg.Name); err != nil {
		return err
	}
	m.findServers(ctx)
	m.startWalk(ctx)
	m.testIncoming(ctx)
	return nil
}

// await waits until the peer is there and wants this one.
func (m *meeting) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.patience())
	defer cancel()
	m.trace(Agree, "waiting for %s", m.cfg.Peer)
	presence, err := m.client.Meet(ctx, m.cfg.Peer, m.cfg.PeerKey)
	if errors.Is(err, context.DeadlineExceeded) {
		return &failed{PeerAbsent, fmt.Sprintf("%s did not come within %s: %s", m.cfg.Peer, m.patience().Round(time.Second), m.client.Waiting())}
	}
	if err != nil {
		return m.coordinatorFailed(err)
	}
	m.presence, m.report.PeerKey = presence, presence.Key
	m.met = timing.Now()
	m.trace(Agree, "%s is here with the key %s", presence.Peer, presence.Key.Short())
	return nil
}

// patience is how long the peer may take to come; not past the instant that
// the user named.
func (m *meeting) patience() time.Duration {
	if at := m.cfg.Wish.At; at != nil {
		return max(at.Sub(m.cfg.Clock.Now()), time.Second)
	}
	return m.cfg.Patience
}

// coordinatorFailed sorts the coordinator's refusals: some are answers about
// the peer, the others mean that the meeting could not be carried out.
func (m *meeting) coordinatorFailed(err error) error {
	var refusal *rendezvous.Error
	if !errors.As(err, &refusal) {
		return err
	}
	switch refusal.Kind {
	case rendezvous.KindPeerLeft:
		return &failed{PeerAbsent, refusal.Message}
	case rendezvous.KindWrongKey:
		return &failed{AuthFailed, refusal.Message}
	case rendezvous.KindSameKey:
		return &failed{Refused, refusal.Message}
	case rendezvous.KindLost:
		return &failed{CoordinatorLost, refusal.Message}
	}
	return err
}

// early is how long before the instant the offers are made: clocks and
// mappings should be measured shortly before they are used.
const early = 10 * time.Second

// prepare measures the clock and the NAT and makes this peer's offer of them.
func (m *meeting) prepare(ctx context.Context) (rendezvous.Offer, error) {
	if err := m.holdUntilEarly(ctx); err != nil {
		return rendezvous.Offer{}, err
	}
	sources, err := m.sync(ctx)
	if err != nil {
		return rendezvous.Offer{}, err
	}
	m.endWalk()
	m.hush(ctx)
	candidates, err := m.gather(ctx)
	if err != nil {
		return rendezvous.Offer{}, err
	}
	m.tellIncoming(candidates)
	return rendezvous.Offer{
		Version: rendezvous.OfferVersion, Wish: m.cfg.Wish, Candidates: candidates,
		Sources: sources, Budget: m.cfg.Budget, MinTTL: m.cfg.MinTTL, Transport: m.cfg.Transport, Forecast: m.mayForecast(),
		Strategy: m.cfg.Strategy, Opening: m.opening,
	}, nil
}

func (m *meeting) holdUntilEarly(ctx context.Context) error {
	wait := m.cfg.Wish.After
	if at := m.cfg.Wish.At; at != nil {
		wait = at.Sub(m.cfg.Clock.Now())
	}
	if wait -= early; wait <= 0 {
		return nil
	}
	m.trace(Agree, "holding for %s", wait.Round(time.Second))
	err := rest(m.whileCoordinated(ctx), timing.Now().Add(wait))
	if lost := m.coordinatorLost(); lost != nil && ctx.Err() == nil {
		return lost
	}
	return err
}

// whileCoordinated is a context that also ends with the coordinator's
// connection, where there is one.
func (m *meeting) whileCoordinated(ctx context.Context) context.Context {
	if m.client == nil {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	m.watch.Go(func() {
		defer cancel()
		select {
		case <-m.client.Done():
		case <-ctx.Done():
		}
	})
	return ctx
}

// coordinatorLost says why the coordinator's connection has ended, or nil.
func (m *meeting) coordinatorLost() error {
	if m.client == nil || m.client.Err() == nil {
		return nil
	}
	return m.coordinatorFailed(m.client.Err())
}

// sync measures the clock against every source that both peers may share.
func (m *meeting) sync(ctx context.Context) ([]rendezvous.SourceOffset, error) {
	if m.cfg.NoSync {
		m.trace(Sync, "not synchronised, as asked")
		return nil, nil
	}
	names := m.cfg.NTP
	if len(names) == 0 {
		names = m.welcome.NTP
	}
	sources := []timing.Source{m.client.Source()}
	for _, n := range names {
		sources = append(sources, m.cfg.Cache.NTP(n, m.cfg.Clock))
	}
	estimate, err := timing.Sync(ctx, m.cfg.Clock, sources, m.cfg.Samples, sampleSpacing)
	if lost := m.coordinatorLost(); lost != nil {
		return nil, lost
	}
	if err != nil && !errors.Is(err, timing.ErrNoMajority) { // servers that differ by a constant still agree on the pair
		if errors.Is(err, timing.ErrNoAnswer) {
			return nil, &failed{ClockTooPoor, err.Error()}
		}
		return nil, err
	}
	m.report.Clock = &estimate
	m.trace(Sync, "this clock is %s against the reference, ± %s", -estimate.Offset, estimate.Bound)
	return m.offsets(estimate), nil
}

// sampleSpacing lets one exchange end before the next begins on most paths.
const sampleSpacing = 20 * time.Millisecond

// offsets are the estimate's offsets as the peer gets them. For experiments they
// can be made wrong, and say so in their bounds.
func (m *meeting) offsets(e timing.Estimate) []rendezvous.SourceOffset {
	var list []rendezvous.SourceOffset
	residual := m.cfg.Residual.Abs()
	for _, o := range e.Offsets(timing.Now()) {
		list = append(list, rendezvous.SourceOffset{
			Name: o.Name, Offset: o.Offset + m.cfg.Residual, Bound: o.Bound + residual, Uncertainty: o.Uncertainty + residual, Delay: o.Delay,
		})
	}
	return list
}

// agree exchanges the offers and computes the schedule that both share. With it
// come the addresses at which the coordinator has seen the peer.
func (m *meeting) agree(ctx context.Context, own rendezvous.Offer) (rendezvous.Schedule, []netip.AddrPort, error) {
	none := rendezvous.Schedule{}
	signed, err := own.Sign(m.cfg.Identity.Key, m.presence.Key, m.presence.Session)
	if err != nil {
		return none, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, max(m.patience(), m.cfg.Wish.After)+early)
	defer cancel()
	agreed, err := m.client.Exchange(ctx, signed)
	if errors.Is(err, context.DeadlineExceeded) {
		return none, nil, &failed{PeerLate, fmt.Sprintf("%s made no offer in time", m.cfg.Peer)}
	}
	if err != nil {
		return none, nil, m.coordinatorFailed(err)
	}
	theirs, err := agreed.Offer.Open(m.presence.Key, m.cfg.Identity.ID(), m.presence.Session)
	if err != nil {
		return none, nil, &failed{AuthFailed, fmt.Sprintf("the offer of %s is not valid: %v", m.cfg.Peer, err)}
	}
	m.peerNAT(theirs)
	terms := rendezvous.Terms{Present: m.presence.At, Agreed: agreed.At}
	schedule, err := rendezvous.Agree(rendezvous.Party{Key: m.cfg.Identity.ID(), Offer: own}, rendezvous.Party{Key: m.presence.Key, Offer: theirs}, terms)
	if err != nil {
		return none, nil, unschedulable(err)
	}
	return schedule, agreed.Attested, nil
}

func unschedulable(err error) error {
	switch {
	case errors.Is(err, rendezvous.ErrPeerLate):
		return &failed{PeerLate, err.Error()}
	case errors.Is(err, rendezvous.ErrInfeasible), errors.Is(err, rendezvous.ErrUnreached):
		return &failed{Infeasible, err.Error()}
	case errors.Is(err, rendezvous.ErrSameKey), errors.Is(err, rendezvous.ErrTransport), disagreed(err):
		return &failed{Refused, err.Error()}
	}
	return err
}

// hopeless is the probability below which no SYN is spent.
const hopeless = 0.01

// promising ends a meeting without a SYN where the ports cannot be foretold.
func (m *meeting) promising(s rendezvous.Schedule) error {
	own := m.cfg.Identity.ID()
	m.report.At, m.report.Probability = pointer(s.At.UTC()), s.Expected
	m.report.Skew, m.report.SkewBound, m.report.SkewUncertainty = s.PeerClock(own), s.Bound, s.Uncertain
	m.report.TimeSources = append(m.report.TimeSources, s.Sources...)
	m.trace(Agree, "instant %s by %s", s.At.UTC().Format(time.RFC3339Nano), timescale(s.Sources))
	if p := s.Expected; p != nil && *p < hopeless && !m.overUDP() {
		return &failed{Infeasible, infeasible(s.Budget, *p)}
	}
	return nil
}

func infeasible(budget int, probability float64) string {
	return fmt.Sprintf("neither side's ports can be foretold well enough: %d SYNs would meet with a probability of %.2g, so no burst was sent; only a relay can help", budget, probability)
}

// admit drops the pairs that policy forbids to dial.
func (m *meeting) admit(pairs []rendezvous.Pair, attested []netip.AddrPort) ([]rendezvous.Pair, error) {
	policy := rendezvous.Policy{Coordinator: m.reached, OnLink: m.cfg.OnLink}
	allowed, refusals := rendezvous.Attest(pairs, attested, policy)
	for _, r := range refusals {
		m.report.Refusals = append(m.report.Refusals, r.Error())
	}
	if len(allowed) == 0 {
		return nil, &failed{Refused, "policy refused every address of the peer: " + m.report.Refusals[0]}
	}
	return allowed, nil
}

// plan turns the schedule into what this side does, within the policy.
func (m *meeting) plan(s rendezvous.Schedule, attested []netip.AddrPort) (plan, error) {
	pairs, err := m.admit(s.For(m.cfg.Identity.ID()), attested)
	if err != nil {
		return plan{}, err
	}
	p := m.planAt(s, s.At, pairs)
	p.attested = attested
	return p, nil
}

// planAt is the plan for an instant on the schedule's timescale.
func (m *meeting) planAt(s rendezvous.Schedule, at time.Time, pairs []rendezvous.Pair) plan {
	own := m.cfg.Identity.ID()
	return plan{
		at:     m.cfg.Clock.Instant(at.Add(-s.Offset(own))),
		pairs:  pairs,
		client: s.Client == own, peerKey: m.presence.Key, minTTL: s.MinTTL,
		strategy: s.Strategy, listens: s.Listens(own), peerOpening: s.PeerOpening(own), denied: s.Denied(),
		sweeps: s.Client == own, bound: orZero(s.Bound), likely: orZero(s.Uncertain), delay: s.Delay,
	}
}

func timescale(sources []string) string {
	if len(sources) == 0 {
		return "each peer's own clock, not synchronised"
	}
	return strings.Join(sources, " and ")
}

func orZero(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}
