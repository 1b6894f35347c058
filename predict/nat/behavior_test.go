package nat

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A scene is a translator with its decisions.
type scene struct {
	*Translator
	t         *testing.T
	now       time.Time
	decisions []Decision
}

func newScene(t *testing.T, c Config) *scene {
	t.Helper()
	s := &scene{t: t, now: start}
	c.Observe = func(d Decision) { s.decisions = append(s.decisions, d) }
	if !c.Firewall && c.External == nil {
		c.External = []netip.Addr{external}
	}
	var err error
	if s.Translator, err = NewTranslator(c); err != nil {
		t.Fatal(err)
	}
	return s
}

// out and in carry a segment, and demand that a decision of that kind is made.
func (s *scene) out(want Kind, p Packet) Action {
	s.t.Helper()
	return s.expect(want, func() Action { return s.Outbound(p, s.now) })
}

func (s *scene) in(want Kind, p Packet) Action {
	s.t.Helper()
	return s.expect(want, func() Action { return s.Inbound(p, s.now) })
}

func (s *scene) expect(want Kind, carry func() Action) Action {
	s.t.Helper()
	s.decisions = s.decisions[:0]
	a := carry()
	if !s.decided(want) {
		s.t.Errorf("decided %v, want %v among them", s.kinds(), want)
	}
	return a
}

func (s *scene) decided(k Kind) bool { return slices.Contains(s.kinds(), k) }

func (s *scene) kinds() []Kind {
	var kinds []Kind
	for _, d := range s.decisions {
		kinds = append(kinds, d.Kind)
	}
	return kinds
}

func (s *scene) wait(d time.Duration) { s.now = s.now.Add(d) }

var peer = netip.MustParseAddrPort("198.51.100.77:6001")

func seg(from, to netip.AddrPort, f Flags) Packet {
	p := Packet{From: from, To: to, Flags: f, Seq: 1000, Window: 64240}
	if f.Has(ACK) {
		p.Ack = 2001
	}
	return p
}

func (s *scene) punch() netip.AddrPort {
	s.t.Helper()
	return s.out(Mapped, seg(inside, peer, SYN)).Packet.From
}

func TestCrossingSYNMeetsItsPolicy(t *testing.T) {
	for c, want := range map[Crossing]struct {
		kind    Kind
		verdict Verdict
	}{CrossingAccept: {CrossingAccepted, Forwarded}, CrossingDrop: {CrossingDropped, Dropped}, CrossingReset: {CrossingRefused, Refused}} {
		s := newScene(t, Config{Crossing: c})
		outside := s.punch()
		if a := s.in(want.kind, seg(peer, outside, SYN)); a.Verdict != want.verdict {
			t.Errorf("%v: got %v, want %v", c, a.Verdict, want.verdict)
		}
		// The answer to the inside's own SYN passes in any case.
		if a := s.in(PassedIn, seg(peer, outside, SYN|ACK)); a.Verdict != Forwarded {
			t.Errorf("%v: SYN-ACK: got %v, want forwarded", c, a.Verdict)
		}
	}
}

func TestResetMeetsItsHandling(t *testing.T) {
	for r, want := range map[ResetHandling]struct {
		kind  Kind
		reset Verdict // of the RST itself
		later Kind    // of a SYN-ACK after it
	}{
		ResetKill:     {ResetKilled, Forwarded, Filtered},
		ResetKeep:     {ResetKept, Forwarded, PassedIn},
		ResetSwallow:  {ResetSwallowed, Dropped, PassedIn},
		ResetDropNext: {ResetKilled, Forwarded, PassedIn},
	} {
		s := newScene(t, Config{Resets: r})
		outside := s.punch()
		if a := s.in(want.kind, seg(peer, outside, RST|ACK)); a.Verdict != want.reset {
			t.Errorf("%v: got %v, want %v", r, a.Verdict, want.reset)
		}
		s.in(want.later, seg(peer, outside, SYN|ACK))
	}
}

func TestDropNextDropsOneSYNAfterAReset(t *testing.T) {
	s := newScene(t, Config{Resets: ResetDropNext})
	outside := s.punch()
	s.in(ResetKilled, seg(peer, outside, RST|ACK))
	s.out(SYNDropped, seg(inside, peer, SYN))
	if a := s.out(PassedOut, seg(inside, peer, SYN)); a.Packet.From != outside {
		t.Errorf("the second SYN left from %v, want %v", a.Packet.From, outside)
	}
	s = newScene(t, Config{Resets: ResetDropNext})
	s.punch()
	s.in(ResetKilled, seg(peer, outside, RST|ACK))
	s.wait(11 * time.Second)
	s.out(PassedOut, seg(inside, peer, SYN))
}

func TestICMPErrorMeetsItsHandling(t *testing.T) {
	for e, want := range map[ErrorHandling][2]Kind{ErrorsIgnore: {ErrorPassed, PassedIn}, ErrorsKill: {ErrorKilled, Filtered}} {
		s := newScene(t, Config{Errors: e})
		outside := s.punch()
		a := s.expect(want[0], func() Action { return s.InboundError(seg(outside, peer, SYN), s.now) })
		if a.Verdict != Forwarded || a.Packet.From != inside {
			t.Errorf("%v: got %v for %v, want it forwarded to %v", e, a.Verdict, a.Packet.From, inside)
		}
		s.in(want[1], seg(peer, outside, SYN|ACK))
	}
	s := newScene(t, Config{Errors: ErrorsKill})
	outside := s.punch()
	s.in(PassedIn, seg(peer, outside, SYN|ACK))
	s.out(PassedOut, seg(inside, peer, ACK))
	s.expect(ErrorPassed, func() Action { return s.InboundError(seg(outside, peer, ACK), s.now) }) // it is established
	s.expect(ErrorDropped, func() Action { return s.InboundError(seg(outside, stranger, SYN), s.now) })
	if a := s.expect(ErrorPassed, func() Action { return s.OutboundError(seg(peer, inside, ACK), s.now) }); a.Packet.To != outside {
		t.Errorf("an error from inside quotes %v, want %v", a.Packet.To, outside)
	}
}

func TestHeldSYNIsAnsweredAfterSixSecondsUnlessTheInsideSends(t *testing.T) {
	s := newScene(t, Config{Unsolicited: Hold})
	early := seg(peer, netip.AddrPortFrom(external, inside.Port()), SYN)
	if a := s.in(Held, early); a.Verdict != Dropped {
		t.Errorf("got %v, want dropped", a.Verdict)
	}
	s.in(Filtered, early) // again
	if got, want := s.Next(), start.Add(6*time.Second); !got.Equal(want) {
		t.Errorf("next at %v, want %v", got, want)
	}
	s.wait(5999 * time.Millisecond)
	if got := s.Advance(s.now); len(got) != 0 {
		t.Errorf("too early: %+v", got)
	}
	s.wait(time.Millisecond)
	got := s.Advance(s.now)
	if len(got) != 1 || got[0].Verdict != Rejected || got[0].Packet.From != peer {
		t.Errorf("got %+v, want one answer to %v", got, peer)
	}

	s = newScene(t, Config{Unsolicited: Hold})
	s.in(Held, early)
	s.out(HeldAccepted, seg(inside, peer, SYN))
	s.wait(time.Minute)
	if got := s.Advance(s.now); len(got) != 0 {
		t.Errorf("the inside has sent, but the peer gets %+v", got)
	}
	s.in(CrossingAccepted, early)
	s.in(Filtered, seg(stranger, early.To, RST))
}

func TestPoisonTakesTheEndpoints(t *testing.T) {
	early := seg(peer, netip.AddrPortFrom(external, inside.Port()), SYN)
	for name, test := range map[string]struct {
		config Config
		before bool // the inside has a mapping already
		passes bool
	}{
		"no mapping yet":            {Config{}, false, true},
		"port for one destination":  {Config{Overload: true}, true, true},
		"port for all destinations": {Config{}, true, false},
	} {
		test.config.Unsolicited = Poison
		s := newScene(t, test.config)
		if test.before {
			s.out(Mapped, seg(inside, server, SYN))
		}
		if a := s.in(Poisoned, early); a.Verdict != Refused || a.Packet.Flags != RST|ACK || a.Packet.Ack != 1001 {
			t.Errorf("%s: got %v %+v, want a RST", name, a.Verdict, a.Packet)
		}
		s.in(AnsweredReset, early)
		a := s.out(Occupied, seg(inside, peer, SYN))
		if (a.Verdict == Forwarded) != test.passes || test.passes && a.Packet.From.Port() == inside.Port() {
			t.Errorf("%s: got %v from %v, want another port: %v", name, a.Verdict, a.Packet.From, test.passes)
		}
		// Low TTL on the first packet avoids it: the endpoints are free again.
		s = newScene(t, test.config)
		s.in(Poisoned, early)
		s.wait(11 * time.Second)
		if a := s.out(PassedOut, seg(inside, peer, SYN)); a.Packet.From.Port() != inside.Port() {
			t.Errorf("%s: later: got %v, want port %d", name, a.Packet.From, inside.Port())
		}
	}
}

func TestSequenceNumbersAreRewrittenAndBack(t *testing.T) {
	s := newScene(t, Config{Sequence: SequenceRewrite, Seed: 1})
	a := s.out(Mapped, seg(inside, peer, SYN))
	shift := a.Packet.Seq - 1000
	if shift == 0 {
		t.Fatal("the sequence number was kept")
	}
	answer := Packet{From: peer, To: a.Packet.From, Flags: SYN | ACK, Seq: 5, Ack: 1001 + shift, Options: Options{SACK: true, Edge: 1500 + shift}}
	got := s.in(PassedIn, answer).Packet
	if got.Ack != 1001 || got.Seq != 5 || got.Options.Edge != 1500 {
		t.Errorf("got seq %d, ack %d, edge %d, want 5, 1001, 1500", got.Seq, got.Ack, got.Options.Edge)
	}
	if got := s.InboundError(a.Packet, s.now).Packet; got.Seq != 1000 {
		t.Errorf("a quoted SYN has %d, want 1000", got.Seq)
	}
	if got := s.OutboundError(Packet{From: peer, To: inside, Flags: ACK, Seq: 5, Ack: 1001}, s.now).Packet; got.Ack != 1001+shift {
		t.Errorf("a quoted answer has %d, want %d", got.Ack, 1001+shift)
	}
	// A bare RST has no acknowledgment to shift.
	if got := s.in(ResetKilled, Packet{From: peer, To: a.Packet.From, Flags: RST, Seq: 9}).Packet; got.Seq != 9 || got.Ack != 0 {
		t.Errorf("got seq %d, ack %d, want 9 and 0", got.Seq, got.Ack)
	}
}

func TestSegmentsThatDoNotFitAreDropped(t *testing.T) {
	for _, u := range []Unsolicited{Drop, Reset, Unreachable} {
		s := newScene(t, Config{Sequence: SequenceWindow, Unsolicited: u})
		outside := s.punch()
		wrong := Packet{From: peer, To: outside, Flags: SYN | ACK, Seq: 5, Ack: 5000, Window: 100}
		want := map[Unsolicited]Verdict{Drop: Dropped, Reset: Refused, Unreachable: Rejected}[u]
		if a := s.in(SequenceDropped, wrong); a.Verdict != want {
			t.Errorf("%v: got %v, want %v", u, a.Verdict, want)
		}
		s.in(SequenceDropped, Packet{From: peer, To: outside, Flags: RST | ACK, Ack: 5000})
		s.in(ResetKilled, Packet{From: peer, To: outside, Flags: RST | ACK, Ack: 1001})
		if a := s.Inbound(Packet{From: peer, To: outside, Flags: SYN | ACK, Ack: 1001}, s.now); a.Verdict != want {
			t.Errorf("%v, after the RST: got %v, want %v", u, a.Verdict, want)
		}
	}
	s := newScene(t, Config{Sequence: SequenceWindow})
	s.punch()
	s.out(SequenceDropped, seg(inside, peer, SYN|ACK)) // a SYN-ACK made by hand
	s.out(SequenceDropped, seg(inside, stranger, FIN|ACK))
	s.out(PassedOut, seg(inside, stranger, ACK)) // picked up in the middle
}

func TestHairpinLeadsBackInsideWithTheOutsideAddress(t *testing.T) {
	second := netip.MustParseAddrPort("192.168.0.3:7000")
	s := newScene(t, Config{Hairpin: true, Filtering: FilterEndpointIndependent})
	target := s.out(Mapped, seg(second, server, SYN)).Packet.From
	a := s.out(Hairpinned, seg(inside, target, SYN))
	want := netip.AddrPortFrom(external, inside.Port())
	if a.Verdict != Forwarded || !a.Inside || a.Packet.From != want || a.Packet.To != second {
		t.Errorf("got %v %v to %v, want %v to %v", a.Verdict, a.Packet.From, a.Packet.To, want, second)
	}
	back := s.out(Hairpinned, seg(second, want, SYN|ACK))
	if back.Packet.From != target || back.Packet.To != inside {
		t.Errorf("back: got %v to %v, want %v to %v", back.Packet.From, back.Packet.To, target, inside)
	}
	s = newScene(t, Config{Hairpin: true, Unsolicited: Reset})
	a = s.out(AnsweredReset, seg(inside, netip.AddrPortFrom(external, 9), SYN))
	if a.Verdict != Refused || !a.Inside || a.Packet.To != inside || a.Packet.Flags != RST|ACK {
		t.Errorf("got %v %+v, want a RST to %v", a.Verdict, a.Packet, inside)
	}
	s = newScene(t, Config{})
	s.out(HairpinDropped, seg(inside, netip.AddrPortFrom(external, 9), SYN))
}

func TestLimitsAreKept(t *testing.T) {
	s := newScene(t, Config{SYNRate: 5, Mapping: AddressAndPortDependent})
	for i := range 5 {
		s.out(PassedOut, seg(netip.AddrPortFrom(inside.Addr(), uint16(7000+i)), peer, SYN))
	}
	late := seg(inside, peer, SYN)
	s.out(RateLimited, late)
	s.out(PassedOut, seg(netip.AddrPortFrom(inside.Addr(), 7000), peer, SYN)) // a retransmission is no new session
	s.wait(200 * time.Millisecond)
	s.out(PassedOut, late)
	s.out(RateLimited, seg(inside, server, SYN))

	s = newScene(t, Config{Quota: 2, Mapping: AddressAndPortDependent, Transitory: time.Second})
	s.out(Mapped, seg(inside, peer, SYN))
	s.out(Mapped, seg(inside, server, SYN))
	if a := s.out(QuotaExceeded, seg(inside, stranger, SYN)); a.Verdict != Dropped {
		t.Errorf("third mapping: got %v, want dropped", a.Verdict)
	}
	s.out(Mapped, seg(netip.MustParseAddrPort("192.168.0.3:5000"), stranger, SYN)) // another host
	s.wait(2 * time.Second)
	s.out(Mapped, seg(inside, stranger, SYN))

	s = newScene(t, Config{Ports: Random, Low: 9, High: 9, Mapping: AddressAndPortDependent})
	s.out(Mapped, seg(inside, peer, SYN))
	s.out(NoPort, seg(inside, server, SYN))
}

func TestSessionsEndAfterTheirTime(t *testing.T) {
	s := newScene(t, Config{Transitory: 10 * time.Second, Established: time.Hour, Datagram: 30 * time.Second})
	outside := s.punch()
	s.wait(11 * time.Second)
	s.in(Expired, seg(peer, outside, SYN|ACK))
	s.punch()
	s.in(PassedIn, seg(peer, outside, SYN|ACK))
	s.out(PassedOut, seg(inside, peer, ACK))
	s.wait(59 * time.Minute)
	s.in(PassedIn, seg(peer, outside, ACK))
	s.wait(61 * time.Minute)
	s.in(Expired, seg(peer, outside, ACK))

	datagram := Packet{Protocol: UDP, From: inside, To: peer}
	s.out(Mapped, datagram)
	back := Packet{Protocol: UDP, From: peer, To: outside}
	s.wait(29 * time.Second)
	s.in(PassedIn, back)
	s.wait(31 * time.Second)
	s.in(Expired, back)
}

func TestUDPHasPortsAndFiltersOfItsOwn(t *testing.T) {
	s := newScene(t, Config{Filtering: FilterAddressDependent, Unsolicited: Reset})
	s.out(Mapped, seg(inside, peer, SYN))
	out := s.out(Mapped, Packet{Protocol: UDP, From: inside, To: server}).Packet.From
	if out.Port() != inside.Port() {
		t.Errorf("got port %d, want %d though TCP has it too", out.Port(), inside.Port())
	}
	s.in(PassedIn, Packet{Protocol: UDP, From: sibling, To: out})
	if a := s.in(AnsweredError, Packet{Protocol: UDP, From: stranger, To: out}); a.Verdict != Rejected {
		t.Errorf("a stranger's datagram: got %v, want rejected, for UDP knows no RST", a.Verdict)
	}
}

func TestFirewallFiltersWithoutTranslating(t *testing.T) {
	for _, ends := range [][2]string{{"198.51.100.1:5000", "203.0.113.9:6000"}, {"[2001:db8:a::1]:5000", "[2001:db8:b::1]:6000"}} {
		host, remote := netip.MustParseAddrPort(ends[0]), netip.MustParseAddrPort(ends[1])
		s := newScene(t, Config{Firewall: true, Unsolicited: Reset})
		if a := s.in(AnsweredReset, seg(remote, host, SYN)); a.Packet.From != host {
			t.Errorf("the RST comes from %v, want %v", a.Packet.From, host)
		}
		if a := s.out(PassedOut, seg(host, remote, SYN)); a.Packet.From != host {
			t.Errorf("got %v, want %v as it was", a.Packet.From, host)
		}
		if a := s.in(CrossingAccepted, seg(remote, host, SYN)); a.Packet.To != host {
			t.Errorf("got %v, want %v", a.Packet.To, host)
		}
	}
}

func TestOverloadedPortLeadsToTheRightInside(t *testing.T) {
	other := netip.MustParseAddrPort("192.168.0.3:5000")
	s := newScene(t, Config{Overload: true})
	a, b := s.out(Mapped, seg(inside, peer, SYN)), s.out(Mapped, seg(other, server, SYN))
	if a.Packet.From != b.Packet.From {
		t.Fatalf("got %v and %v, want one endpoint for two destinations", a.Packet.From, b.Packet.From)
	}
	for remote, want := range map[netip.AddrPort]netip.AddrPort{peer: inside, server: other} {
		if got := s.in(PassedIn, seg(remote, a.Packet.From, SYN|ACK)).Packet.To; got != want {
			t.Errorf("from %v: got %v, want %v", remote, got, want)
		}
	}
	if c := s.out(Mapped, seg(other, peer, SYN)); c.Packet.From == a.Packet.From {
		t.Errorf("two inside endpoints share %v to one destination", c.Packet.From)
	}
}

func TestForeignTrafficTakesPortsBetweenTwoMappings(t *testing.T) {
	s := newScene(t, Config{Mapping: AddressAndPortDependent, Ports: Sequential, Churn: 100, Seed: 4})
	first := s.out(Mapped, seg(inside, server, SYN)).Packet.From.Port()
	s.wait(time.Second)
	second := s.out(Mapped, seg(inside, peer, SYN)).Packet.From.Port()
	if gap := second - first; gap < 60 || gap > 140 {
		t.Errorf("after a second the next port is %d further, want about 100", gap)
	}
}

// Every decision names the endpoints that it is about.
func TestDecisionsNameTheEndpoints(t *testing.T) {
	s := newScene(t, Config{})
	outside := s.punch()
	for _, d := range s.decisions {
		if d.Inside != inside || d.Outside != outside || d.Remote != peer || !d.Outbound || d.Flags != SYN || !d.At.Equal(start) {
			t.Errorf("out: got %+v", d)
		}
	}
	s.in(CrossingAccepted, seg(peer, outside, SYN))
	for _, d := range s.decisions {
		if d.Inside != inside || d.Outside != outside || d.Remote != peer || d.Outbound {
			t.Errorf("in: got %+v", d)
		}
	}
	s.in(Filtered, seg(stranger, outside, SYN))
	if d := s.decisions[0]; d.Inside.IsValid() || d.Outside != outside || d.Remote != stranger {
		t.Errorf("filtered: got %+v", d)
	}
}
