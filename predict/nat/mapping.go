package nat

import "net/netip"

// A mappingKey is what has to be equal for a mapping to be reused: the inside
// endpoint and as much of the destination as the mapping depends on.
type mappingKey struct {
	protocol Protocol
	inside   netip.AddrPort
	addr     netip.Addr
	port     uint16
}

// A mapping is one external endpoint of an inside endpoint. It lasts as long as
// one of its sessions.
type mapping struct {
	key      mappingKey
	outside  netip.AddrPort
	first    netip.AddrPort // the destination for which the allocator gave it
	sessions int
	peers    map[netip.Addr]int // FilterAddressDependent: sessions from inside by remote address
	older    *mapping           // Overload: another one at the same external endpoint
}

// endpoint is a NAT's own endpoint.
type endpoint struct {
	protocol Protocol
	outside  netip.AddrPort
}

// key selects what of the destination the mapping depends on (RFC 4787
// section 4.1).
func (t *Translator) key(p Packet) mappingKey {
	k := mappingKey{protocol: p.Protocol, inside: p.From}
	switch t.config.Mapping {
	case AddressDependent:
		k.addr = p.To.Addr()
	case AddressAndPortDependent, PerConnection:
		k.addr, k.port = p.To.Addr(), p.To.Port()
	}
	return k
}

// mappingFor returns the mapping that p, which opens a session, shall use.
func (t *Translator) mappingFor(p Packet) (*mapping, Kind) {
	if m := t.mappings[t.key(p)]; m != nil && t.config.Mapping != PerConnection {
		switch taken := t.fromOutside[flow{p.Protocol, m.outside, p.To}]; {
		case taken == nil || taken.role == held:
			if t.joins(m, p.To) {
				return m, Reused
			}
		case taken.role == poisoned:
			t.report(Occupied, p, true, m.outside, "the NAT has taken a SYN from this peer itself")
			if !t.config.Overload {
				return nil, Occupied
			}
		}
	}
	return t.newMapping(p)
}

// joins takes the place of another destination on a mapping's endpoint.
func (t *Translator) joins(m *mapping, to netip.AddrPort) bool {
	return !t.config.Overload || t.config.Firewall || t.allocator(m.key.protocol).TakeExactly(m.outside, to)
}

func (t *Translator) newMapping(p Packet) (*mapping, Kind) {
	if t.config.Quota > 0 && t.perHost[p.From.Addr()] >= t.config.Quota {
		return nil, QuotaExceeded
	}
	outside, ok := t.allocate(p)
	if !ok {
		return nil, NoPort
	}
	m := &mapping{key: t.key(p), outside: outside, first: p.To}
	at := endpoint{p.Protocol, outside}
	m.older = t.outside[at]
	t.mappings[m.key], t.outside[at] = m, m
	t.perHost[p.From.Addr()]++
	return m, Mapped
}

func (t *Translator) allocate(p Packet) (netip.AddrPort, bool) {
	if t.config.Firewall {
		return p.From, true
	}
	t.reportPoisoned(p)
	a := t.allocator(p.Protocol)
	a.Advance(t.now)
	return a.Take(p.From, p.To)
}

// reportPoisoned says that the port that p would have kept is taken by a SYN
// from its own peer.
func (t *Translator) reportPoisoned(p Packet) {
	if t.config.Unsolicited != Poison || t.config.Ports != Preserving {
		return
	}
	for _, a := range t.config.External {
		outside := netip.AddrPortFrom(a, p.From.Port())
		if s := t.fromOutside[flow{p.Protocol, outside, p.To}]; s != nil && s.role == poisoned {
			t.report(Occupied, p, true, outside, "the NAT has taken a SYN from this peer itself")
		}
	}
}

func (t *Translator) allocator(p Protocol) *Allocator {
	if t.ports[p] == nil {
		c := t.config
		c.Seed += uint64(p) << 32
		if p == ICMP {
			c.Churn = 0
		}
		t.ports[p] = newAllocator(c)
	}
	return t.ports[p]
}

// leave takes a session off its mapping, and ends the mapping with the last.
func (t *Translator) leave(m *mapping, s *session) {
	m.sessions--
	if !s.incoming && m.peers != nil {
		if m.peers[s.remote.Addr()]--; m.peers[s.remote.Addr()] == 0 {
			delete(m.peers, s.remote.Addr())
		}
	}
	if t.config.Overload && !t.config.Firewall && s.took {
		t.allocator(s.protocol).Release(m.outside, s.remote)
	}
	if m.sessions > 0 {
		return
	}
	t.unlink(m)
	if t.perHost[m.key.inside.Addr()]--; t.perHost[m.key.inside.Addr()] == 0 {
		delete(t.perHost, m.key.inside.Addr())
	}
	if !t.config.Overload && !t.config.Firewall {
		t.allocator(m.key.protocol).Release(m.outside, m.first)
	}
}

func (t *Translator) unlink(m *mapping) {
	if t.mappings[m.key] == m {
		delete(t.mappings, m.key)
	}
	at := endpoint{m.key.protocol, m.outside}
	if t.outside[at] == m {
		if m.older == nil {
			delete(t.outside, at)
			return
		}
		t.outside[at] = m.older
		return
	}
	for newer := t.outside[at]; newer != nil; newer = newer.older {
		if newer.older == m {
			newer.older = m.older
			return
		}
	}
}
