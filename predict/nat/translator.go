package nat

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Config is the behaviour of a Translator. Only External is required: the
// zero value of the rest is endpoint-independent mapping, address-and-port-
// dependent filtering, preserved ports and silence.
type Config struct {
	External    netip.Addr
	Mapping     Mapping
	Filtering   Filtering
	Ports       PortAssignment
	Unsolicited Unsolicited

	Delta     int    // Sequential: step; 0 means 1
	Low, High uint16 // range of Sequential and Random, and of Preserving when the port is taken; 0 means 1024–65535
	Seed      uint64 // of the random draws

	// Idle times after which a session ends; 0 means the least that
	// RFC 5382 section 5, REQ-5 allows: 4 minutes and 2 hours 4 minutes.
	Transitory, Established time.Duration
}

// Translator is one NAT. The caller carries packets to it and does what it
// says; time is whatever the caller passes, and must not run backwards.
type Translator struct {
	config   Config
	rand     *rand.Rand
	next     uint16 // Sequential: where the search for a port starts
	mappings map[mappingKey]*mapping
	ports    map[uint16]*mapping
}

// A mappingKey is what has to be equal for a mapping to be reused: the inside
// endpoint and as much of the destination as the mapping depends on.
type mappingKey struct {
	inside netip.AddrPort
	addr   netip.Addr
	port   uint16
}

// A mapping is one outside port with the sessions that use it, by their
// outside endpoint. It lasts as long as one of them.
type mapping struct {
	key      mappingKey
	port     uint16
	sessions map[netip.AddrPort]*session
}

// A session is one connection, as seen in the middle.
type session struct {
	fromInside, fromOutside bool // a segment with ACK was seen
	closing                 bool // FIN or RST was seen
	last                    time.Time
}

// NewTranslator checks the configuration.
func NewTranslator(c Config) (*Translator, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("nat: %w", err)
	}
	return &Translator{
		config:   c,
		rand:     rand.New(rand.NewPCG(c.Seed, c.Seed)),
		next:     c.Low,
		mappings: map[mappingKey]*mapping{},
		ports:    map[uint16]*mapping{},
	}, nil
}

// complete fills in what zero values stand for.
func (c *Config) complete() error {
	setDefault(&c.Mapping, EndpointIndependent)
	setDefault(&c.Filtering, FilterAddressAndPortDependent)
	setDefault(&c.Ports, Preserving)
	setDefault(&c.Unsolicited, Drop)
	setDefault(&c.Delta, 1)
	setDefault(&c.Low, 1024)
	setDefault(&c.High, 65535)
	setDefault(&c.Transitory, 4*time.Minute)
	setDefault(&c.Established, 2*time.Hour+4*time.Minute)
	switch {
	case !c.External.IsValid():
		return errors.New("no external address")
	case c.Mapping > PerConnection:
		return fmt.Errorf("mapping %v is not one behaviour", c.Mapping)
	case c.Filtering > FilterAddressAndPortDependent, c.Ports > Random, c.Unsolicited > Unreachable:
		return errors.New("behaviour out of range")
	case c.Low > c.High:
		return fmt.Errorf("ports %d-%d are no range", c.Low, c.High)
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Outbound translates a packet that arrives from inside.
func (t *Translator) Outbound(p Packet, now time.Time) Action {
	if p.To.Addr() == t.config.External {
		return Action{Dropped, p, "no hairpinning"}
	}
	t.expire(now)
	m := t.find(p)
	if m == nil {
		if !p.opens() {
			return Action{Dropped, p, "no mapping, and not a SYN"}
		}
		if m = t.open(p); m == nil {
			return Action{Dropped, p, "no free port"}
		}
	}
	m.track(p.To, now).outbound(p)
	p.From = netip.AddrPortFrom(t.config.External, m.port)
	return Action{Forwarded, p, "outbound"}
}

// Inbound translates a packet that arrives from outside.
func (t *Translator) Inbound(p Packet, now time.Time) Action {
	t.expire(now)
	m := t.ports[p.To.Port()]
	switch {
	case p.To.Addr() != t.config.External:
		return Action{Dropped, p, "not addressed to the NAT"}
	case m == nil:
		return t.unsolicited(p, "no mapping")
	case !t.admits(m, p.From):
		return t.unsolicited(p, "filtered")
	}
	m.track(p.From, now).inbound(p)
	p.To = m.key.inside
	return Action{Forwarded, p, "inbound"}
}

// admits is the filtering rule (RFC 4787 section 5).
func (t *Translator) admits(m *mapping, from netip.AddrPort) bool {
	switch t.config.Filtering {
	case FilterEndpointIndependent:
		return true
	case FilterAddressDependent:
		for to := range m.sessions {
			if to.Addr() == from.Addr() {
				return true
			}
		}
		return false
	}
	return m.sessions[from] != nil
}

// unsolicited answers a refused packet, but never a RST (RFC 9293 section
// 3.5.2).
func (t *Translator) unsolicited(p Packet, reason string) Action {
	switch {
	case p.Flags.Has(RST), t.config.Unsolicited == Drop:
		return Action{Dropped, p, reason}
	case t.config.Unsolicited == Unreachable:
		return Action{Rejected, p, reason}
	}
	return Action{Refused, p.refuse(), reason}
}

// find returns the mapping that p reuses, or nil.
func (t *Translator) find(p Packet) *mapping {
	m := t.mappings[t.key(p)]
	if m == nil || t.config.Mapping != PerConnection {
		return m
	}
	if s := m.sessions[p.To]; p.opens() && (s == nil || s.closing) {
		return nil // a new connection
	}
	return m
}

// key selects what of the destination the mapping depends on (RFC 4787
// section 4.1).
func (t *Translator) key(p Packet) mappingKey {
	k := mappingKey{inside: p.From}
	switch t.config.Mapping {
	case AddressDependent:
		k.addr = p.To.Addr()
	case AddressAndPortDependent, PerConnection:
		k.addr, k.port = p.To.Addr(), p.To.Port()
	}
	return k
}

// open makes the mapping for p; nil when every port is taken.
func (t *Translator) open(p Packet) *mapping {
	port, ok := t.assign(p.From.Port())
	if !ok {
		return nil
	}
	k := t.key(p)
	if old := t.mappings[k]; old != nil {
		delete(t.ports, old.port)
	}
	m := &mapping{key: k, port: port, sessions: map[netip.AddrPort]*session{}}
	t.mappings[k], t.ports[port] = m, m
	return m
}

// assign chooses a free outside port, by the configured rule and then by
// searching on.
func (t *Translator) assign(inside uint16) (uint16, bool) {
	step := 1
	var start uint16
	switch t.config.Ports {
	case Preserving:
		if t.ports[inside] == nil {
			return inside, true
		}
		start = t.draw()
	case Sequential:
		start, step = t.next, t.config.Delta
	case Random:
		start = t.draw()
	}
	port, ok := t.search(start, step)
	t.next = t.add(port, step)
	return port, ok
}

func (t *Translator) draw() uint16 {
	return t.config.Low + uint16(t.rand.IntN(t.width()))
}

func (t *Translator) width() int { return int(t.config.High) - int(t.config.Low) + 1 }

// add steps within the range and around its ends.
func (t *Translator) add(port uint16, step int) uint16 {
	w := t.width()
	return t.config.Low + uint16((((int(port)-int(t.config.Low)+step)%w)+w)%w)
}

// search takes the first free port at start, start+step, and so on.
func (t *Translator) search(start uint16, step int) (uint16, bool) {
	port := start
	for range t.width() {
		if t.ports[port] == nil {
			return port, true
		}
		port = t.add(port, step)
	}
	return start, false
}

// track returns the session with the outside endpoint, refreshed.
func (m *mapping) track(outside netip.AddrPort, now time.Time) *session {
	s := m.sessions[outside]
	if s == nil {
		s = &session{}
		m.sessions[outside] = s
	}
	s.last = now
	return s
}

func (s *session) outbound(p Packet) { s.see(p, &s.fromInside) }
func (s *session) inbound(p Packet)  { s.see(p, &s.fromOutside) }

func (s *session) see(p Packet, acked *bool) {
	if p.opens() && s.closing { // the endpoints are used again
		*s = session{last: s.last}
	}
	*acked = *acked || p.Flags.Has(ACK)
	s.closing = s.closing || p.Flags&(FIN|RST) != 0
}

// expire ends what has been idle for too long.
func (t *Translator) expire(now time.Time) {
	for port, m := range t.ports {
		for outside, s := range m.sessions {
			if now.Sub(s.last) > t.idle(s) {
				delete(m.sessions, outside)
			}
		}
		if len(m.sessions) == 0 {
			delete(t.ports, port)
			if t.mappings[m.key] == m {
				delete(t.mappings, m.key)
			}
		}
	}
}

func (t *Translator) idle(s *session) time.Duration {
	if s.fromInside && s.fromOutside && !s.closing {
		return t.config.Established
	}
	return t.config.Transitory
}
