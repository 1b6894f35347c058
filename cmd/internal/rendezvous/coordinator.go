package rendezvous

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// alpn is the protocol word of a coordinator's TLS connections.
const alpn = "tcppunch-coordinator/1"

// Limits of what strangers can make a coordinator hold.
const (
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 2 * time.Minute // clients send a time exchange more often than this
	writeTimeout     = 10 * time.Second
	nameTTL          = 10 * time.Minute // how long a name stays with its key after the key's last connection
	maxConnections   = 16_384
	maxPerNetwork    = 256
	maxNames         = 65_536
	maxReflexive     = 64 // addresses remembered of one peer
	maxName          = 64 // bytes
	maxForecasts     = 16 // of one meeting
	sendQueue        = 32 // messages a slow reader may leave unread
)

// CoordinatorConfig says what a coordinator serves. The listeners are the
// caller's, who also closes them.
type CoordinatorConfig struct {
	Identity *Identity
	STUN     []string // HOST:PORT of the STUN servers that peers are told; an empty host is the coordinator's own
	NTP      []string // NTP servers that peers are told

	DialBack  DialBackSockets // with which peers' NATs are probed; nil: they are not
	Addresses []netip.Addr    // further addresses of this host, from which mappings are dialled
	Now       func() time.Time
}

// Coordinator introduces peers to each other.
type Coordinator struct {
	cfg   CoordinatorConfig
	gate  *gate
	mu    sync.Mutex
	names map[string]*claim
	token map[string]*session
	dials dialLimit
}

// claim is a name and the key that holds it.
type claim struct {
	key     KeyID
	session *session // nil once its connection has ended
	until   time.Time
}

// NewCoordinator makes a coordinator that knows nobody yet.
func NewCoordinator(cfg CoordinatorConfig) *Coordinator {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Coordinator{
		cfg: cfg, gate: newGate(maxConnections, maxPerNetwork),
		names: map[string]*claim{}, token: map[string]*session{}, dials: newDialLimit(),
	}
}

// Serve accepts peers until ctx ends or the listener fails. It returns when
// all its connections have ended.
func (c *Coordinator) Serve(ctx context.Context, listener net.Listener) error {
	return serve(ctx, listener, c.gate, func(ctx context.Context, conn net.Conn) { c.handle(ctx, conn) })
}

// serve runs one goroutine a connection and waits for all of them.
func serve(ctx context.Context, listener net.Listener, gate *gate, handle func(context.Context, net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { listener.Close() })
	defer stop()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept: %w", err)
		}
		if err != nil { // out of descriptors, for one: the next accept may do better
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		remote := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
		if !gate.enter(remote.Addr()) {
			conn.Close()
			continue
		}
		group.Go(func() {
			defer gate.leave(remote.Addr())
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			handle(ctx, conn)
		})
	}
}

func (c *Coordinator) handle(ctx context.Context, conn net.Conn) {
	secure := tls.Server(conn, c.cfg.Identity.TLS("", alpn))
	conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if secure.HandshakeContext(ctx) != nil {
		return
	}
	conn.SetDeadline(time.Time{})
	s := &session{
		coordinator: c, conn: secure, key: ProvenKey(secure),
		observed: unmap(conn.RemoteAddr().(*net.TCPAddr).AddrPort()),
		local:    unmap(conn.LocalAddr().(*net.TCPAddr).AddrPort()).Addr(),
		out:      make(chan message, sendQueue), ended: make(chan struct{}),
	}
	s.reflexive = []netip.AddrPort{s.observed}
	s.run()
}

// Observed is called by the STUN responders: a completed TCP connection from
// this address carried this token. It ties the address to the peer.
func (c *Coordinator) Observed(token string, from netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.token[token]; s != nil && len(s.reflexive) < maxReflexive {
		s.reflexive = append(s.reflexive, unmap(from))
	}
}

func (c *Coordinator) register(s *session, name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	held := c.names[name]
	switch {
	case s.token != "":
		return &Error{KindBadRequest, "a connection registers once"}
	case held != nil && held.key != s.key && (held.session != nil || now.Before(held.until)):
		return &Error{KindNameTaken, fmt.Sprintf("the name %q is held by another key; it is released %s after that key leaves", name, nameTTL)}
	case held == nil && len(c.names) >= maxNames:
		c.expire(now)
		if len(c.names) >= maxNames {
			return &Error{KindBusy, "the coordinator holds as many names as it can"}
		}
	}
	if held != nil && held.session != nil {
		held.session.fail(&Error{KindReplaced, fmt.Sprintf("another connection with the same key took the name %q", name)})
	}
	s.name = name
	c.names[name] = &claim{key: s.key, session: s}
	c.welcome(s)
	return nil
}

// admit lets a guest in.
func (c *Coordinator) admit(s *session) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.token != "" {
		return &Error{KindBadRequest, "a connection registers once"}
	}
	c.welcome(s)
	return nil
}

func (c *Coordinator) welcome(s *session) {
	s.token = newToken()
	c.token[s.token] = s
	s.push(message{Welcome: &Welcome{Observed: s.observed, Token: s.token, STUN: c.cfg.STUN, NTP: c.cfg.NTP, Features: c.features()}})
}

func (c *Coordinator) features() []string {
	list := []string{FeatureForecast}
	if c.cfg.DialBack != nil {
		list = append(list, FeatureDialBack)
	}
	return list
}

func (c *Coordinator) expire(now time.Time) {
	for name, claim := range c.names {
		if claim.session == nil && !now.Before(claim.until) {
			delete(c.names, name)
		}
	}
}

// leave forgets a session. Its name stays with its key for a while.
func (c *Coordinator) leave(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.token, s.token)
	if held := c.names[s.name]; held != nil && held.session == s {
		held.session, held.until = nil, c.cfg.Now().Add(nameTTL)
	}
	if p := s.partner; p != nil {
		s.partner, p.partner = nil, nil
		if !s.agreed || p.forecast != nil {
			p.push(message{Error: &Error{KindPeerLeft, fmt.Sprintf("%q left before the instant was agreed", s.name)}})
		}
	}
}

// meet introduces s to the peer it asks for, if that peer asks for s as well.
func (c *Coordinator) meet(s *session, m meet) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.name == "" || s.partner != nil {
		return &Error{KindBadRequest, "register first, and meet one peer at a time"}
	}
	s.wants, s.wantsKey = m.Peer, m.Key
	held := c.names[m.Peer]
	if held == nil || held.session == nil {
		s.push(message{Waiting: &waiting{fmt.Sprintf("%q is not connected to this coordinator", m.Peer)}})
		return nil
	}
	p := held.session
	if p.wants != s.name || p.partner != nil || p.offer != nil { // with an offer made, its one meeting is under way or over
		if s.wantsKey != "" && s.wantsKey != p.key {
			return wrongKey(p, s)
		}
		s.push(message{Waiting: &waiting{fmt.Sprintf("%q is connected, but has not asked for %q", m.Peer, s.name)}})
		return nil
	}
	if err := compatible(s, p); err != nil {
		p.fail(err)
		return err
	}
	c.introduce(s, p)
	return nil
}

func compatible(s, p *session) *Error {
	switch {
	case s.key == p.key:
		return &Error{KindSameKey, ErrSameKey.Error()}
	case s.wantsKey != "" && s.wantsKey != p.key:
		return wrongKey(p, s)
	case p.wantsKey != "" && p.wantsKey != s.key:
		return wrongKey(s, p)
	}
	return nil
}

func wrongKey(shown, pinned *session) *Error {
	return &Error{KindWrongKey, fmt.Sprintf("%q has the key %s, not the one that %q pinned", shown.name, shown.key, pinned.name)}
}

func (c *Coordinator) introduce(s, p *session) {
	s.partner, p.partner = p, s
	presence := Presence{At: c.cfg.Now().UTC(), Session: newToken(), SameAddress: s.observed.Addr() == p.observed.Addr()}
	for _, side := range []*session{s, p} {
		to := presence
		to.Peer, to.Key = side.partner.name, side.partner.key
		side.push(message{Present: &to})
	}
}

// offer keeps one half of the schedule, and hands both over once both are here.
func (c *Coordinator) offer(s *session, o SignedOffer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := s.partner
	if p == nil || s.offer != nil {
		return &Error{KindBadRequest, "there is no introduction to make an offer for"}
	}
	s.offer = &o
	if p.offer == nil {
		return nil
	}
	at := c.cfg.Now().UTC()
	s.agreed, p.agreed = true, true
	s.push(message{Agreed: &Agreed{Offer: *p.offer, Attested: p.reflexive, At: at}})
	p.push(message{Agreed: &Agreed{Offer: *s.offer, Attested: s.reflexive, At: at}})
	return nil
}

// forecast keeps one half of a round's plan, and hands both over once both are
// here.
func (c *Coordinator) forecast(s *session, f SignedForecast) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := s.partner
	switch {
	case !s.agreed || s.forecast != nil || s.forecasts >= maxForecasts:
		return &Error{KindBadRequest, "there is no agreement to make a forecast for"}
	case p == nil:
		return &Error{KindPeerLeft, "the peer has left"}
	}
	s.forecast = &f
	s.forecasts++
	if p.forecast == nil {
		return nil
	}
	at := c.cfg.Now().UTC()
	s.push(message{Forecasts: &Foretold{Forecast: *p.forecast, Attested: p.reflexive, At: at}})
	p.push(message{Forecasts: &Foretold{Forecast: *s.forecast, Attested: s.reflexive, At: at}})
	s.forecast, p.forecast = nil, nil
	return nil
}

func newToken() string {
	var raw [18]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
