package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Translator is one NAT for packets as values. The caller carries packets to it
// and does what it says; time is whatever the caller passes, and must not run
// backwards. Its memory is bounded by the ports it has, or, with Overload or as
// a firewall, by the sessions that the inside opens.
type Translator struct {
	config Config
	rand   *rand.Rand
	ports  [ICMP + 1]*Allocator

	mappings    map[mappingKey]*mapping
	outside     map[endpoint]*mapping // the latest at an external endpoint
	fromInside  map[flow]*session     // by inside endpoint
	fromOutside map[flow]*session     // by external endpoint
	timers      timers
	perHost     map[netip.Addr]int // mappings of an inside address
	holding     int                // sessions without a mapping
	tokens      float64            // SYNRate: sessions that may be opened now
	refilled    time.Duration

	epoch  time.Time // of the first packet
	now    time.Time
	clock  time.Duration // now, since epoch
	late   []Action      // what Advance is to return
	packet []byte        // of the decision at work, for the quote of a held SYN; nil outside of a Box
}

// A flow is what a packet is found by: the near end is inside or the NAT's own.
type flow struct {
	protocol     Protocol
	near, remote netip.AddrPort
}

// NewTranslator checks the configuration.
func NewTranslator(c Config) (*Translator, error) {
	if err := c.complete(); err != nil {
		return nil, fmt.Errorf("nat: %w", err)
	}
	return &Translator{
		config:      c,
		rand:        rand.New(rand.NewPCG(c.Seed, c.Seed^0x736571)),
		tokens:      float64(c.SYNRate),
		mappings:    map[mappingKey]*mapping{},
		outside:     map[endpoint]*mapping{},
		fromInside:  map[flow]*session{},
		fromOutside: map[flow]*session{},
		perHost:     map[netip.Addr]int{},
	}, nil
}

// Outbound decides about a packet that arrives from inside.
func (t *Translator) Outbound(p Packet, now time.Time) Action {
	setDefault(&p.Protocol, TCP)
	t.expire(now)
	if t.own(p.To.Addr()) {
		return t.hairpin(p)
	}
	return t.outbound(p)
}

// Inbound decides about a packet that arrives from outside.
func (t *Translator) Inbound(p Packet, now time.Time) Action {
	setDefault(&p.Protocol, TCP)
	t.expire(now)
	return t.inbound(p)
}

// Advance ends what is over by now, and returns the answers that were due.
func (t *Translator) Advance(now time.Time) []Action {
	t.expire(now)
	late := t.late
	t.late = nil
	return late
}

// Next is when Advance has something to do, at the earliest; zero for never.
func (t *Translator) Next() time.Time {
	switch {
	case len(t.late) > 0:
		return t.now
	case len(t.timers) == 0:
		return time.Time{}
	}
	return t.epoch.Add(t.timers[0].due)
}

func (t *Translator) own(a netip.Addr) bool { return slices.Contains(t.config.External, a) }

// expire ends sessions that are idle for too long.
func (t *Translator) expire(now time.Time) {
	if t.epoch.IsZero() {
		t.epoch = now
	}
	t.now, t.clock = now, now.Sub(t.epoch)
	for s := t.timers.pop(t.clock); s != nil; s = t.timers.pop(t.clock) {
		p := Packet{Protocol: s.protocol, From: s.remote, To: s.outside}
		if s.role == held {
			p = s.packet
			t.late = append(t.late, Action{Verdict: Rejected, Packet: p, Kind: AnsweredError, Reason: "held, and nothing came from inside", quote: s.quote})
			t.report(AnsweredError, p, false, s.outside, "held, and nothing came from inside")
		} else {
			t.report(Expired, p, false, s.outside, "idle")
		}
		t.end(s)
	}
}

// end forgets a session.
func (t *Translator) end(s *session) {
	t.timers.remove(s)
	if at := (flow{s.protocol, s.outside, s.remote}); t.fromOutside[at] == s {
		delete(t.fromOutside, at)
	}
	if s.mapping == nil {
		t.holding--
		if s.took {
			t.allocator(s.protocol).Release(s.outside, s.remote)
		}
		return
	}
	if at := (flow{s.protocol, s.mapping.key.inside, s.remote}); t.fromInside[at] == s {
		delete(t.fromInside, at)
	}
	t.leave(s.mapping, s)
}

func (t *Translator) drop(k Kind, p Packet, outbound bool, outside netip.AddrPort, reason string) Action {
	t.report(k, p, outbound, outside, reason)
	return Action{Verdict: Dropped, Packet: p, Kind: k, Reason: reason}
}

// report tells the observer of a decision about a packet. Its inside endpoint
// is known for what comes from inside or belongs to a session.
func (t *Translator) report(k Kind, p Packet, outbound bool, outside netip.AddrPort, reason string) {
	if t.config.Observe == nil {
		return
	}
	d := Decision{At: t.now, Kind: k, Protocol: p.Protocol, Outbound: outbound, Outside: outside, Remote: p.From, Flags: p.Flags, Seq: p.Seq, Ack: p.Ack, Reason: reason}
	if outbound {
		d.Inside, d.Remote = p.From, p.To
	} else if s := t.fromOutside[flow{p.Protocol, outside, p.From}]; s != nil && s.mapping != nil {
		d.Inside = s.mapping.key.inside
	}
	t.config.Observe(d)
}

// quoted is a copy of the packet at work, as far as an ICMP error quotes it.
func (t *Translator) quoted() []byte { return slices.Clone(t.packet[:min(len(t.packet), maxQuote)]) }

// maxQuote is what fits into an ICMP error of 576 bytes (RFC 1812 section
// 4.3.2.3).
const maxQuote = 576 - 20 - 8
