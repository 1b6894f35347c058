package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Translator is one NAT. The caller carries packets to it and does what it
// says; time is whatever the caller passes, and must not run backwards.
type Translator struct {
	config   Config
	ports    *Allocator
	mappings map[mappingKey]*mapping
	outside  map[netip.AddrPort]*mapping
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
	outside  netip.AddrPort
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
		ports:    newAllocator(c),
		mappings: map[mappingKey]*mapping{},
		outside:  map[netip.AddrPort]*mapping{},
	}, nil
}

// Outbound translates a packet that arrives from inside.
func (t *Translator) Outbound(p Packet, now time.Time) Action {
	if slices.Contains(t.config.External, p.To.Addr()) {
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
	p.From = m.outside
	return Action{Forwarded, p, "outbound"}
}

// Inbound translates a packet that arrives from outside.
func (t *Translator) Inbound(p Packet, now time.Time) Action {
	t.expire(now)
	m := t.outside[p.To]
	switch {
	case !slices.Contains(t.config.External, p.To.Addr()):
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
	outside, ok := t.ports.Take(p.From, p.To)
	if !ok {
		return nil
	}
	m := &mapping{key: t.key(p), outside: outside, sessions: map[netip.AddrPort]*session{}}
	if old := t.mappings[m.key]; old != nil {
		t.close(old)
	}
	t.mappings[m.key], t.outside[outside] = m, m
	return m
}

func (t *Translator) close(m *mapping) {
	t.ports.Release(m.outside, netip.AddrPort{})
	delete(t.outside, m.outside)
	if t.mappings[m.key] == m {
		delete(t.mappings, m.key)
	}
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
	for _, m := range t.outside {
		for outside, s := range m.sessions {
			if now.Sub(s.last) > t.idle(s) {
				delete(m.sessions, outside)
			}
		}
		if len(m.sessions) == 0 {
			t.close(m)
		}
	}
}

func (t *Translator) idle(s *session) time.Duration {
	if s.fromInside && s.fromOutside && !s.closing {
		return t.config.Established
	}
	return t.config.Transitory
}
