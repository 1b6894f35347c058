package captures

import (
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Handshakes judges all openings seen so far, in the order of their beginning.
func (a *Analyzer) Handshakes() []Handshake {
	list := []Handshake{}
	for _, group := range correlate(a.flows) {
		list = append(list, newHandshake(group))
	}
	slices.SortStableFunc(list, func(x, y Handshake) int { return x.Events[0].At.Compare(y.Events[0].At) })
	return list
}

func newHandshake(flows []*flow) Handshake {
	f := gather(newExchange(newStreams(flows)))
	h := Handshake{Verdict: f.judge(), Vantages: f.vantages(), Events: f.events(), NAT: []NAT{}, Evidence: []Evidence{}}
	h.Established = f.established(h.Verdict)
	h.A, h.B = h.Vantages[0].A, h.Vantages[len(h.Vantages)-1].B
	h.CrossingMargin = f.margin(h.Verdict)
	h.AttemptsA, h.SynsA, h.ISNA = f.tries(SideA)
	h.AttemptsB, h.SynsB, h.ISNB = f.tries(SideB)
	h.NAT = append(h.NAT, f.translations(h.Vantages)...)
	h.Reset = f.reset(h.Verdict)
	h.Evidence = append(h.Evidence, f.evidence(h)...)
	return h
}

func (f *facts) tries(side Side) (attempts, syns int, isn *uint32) {
	seen := map[uint32]bool{}
	for _, x := range f.segments {
		if x.side == side && x.Kind == KindSyn {
			syns++
			seen[x.Seq] = true
		}
	}
	if f.known[side] {
		isn = &f.isn[side]
	}
	return len(seen), syns, isn
}

func (f *facts) vantages() []Vantage {
	list := make([]Vantage, len(f.streams))
	for i, s := range f.streams {
		v := Vantage{File: s.key.file, Interface: s.key.place, Name: "file " + strconv.Itoa(s.key.file), A: s.key.low, B: s.key.high}
		if !s.lowIsA {
			v.A, v.B = v.B, v.A
		}
		list[i] = v
	}
	return list
}

func (f *facts) events() []Event {
	var list []Event
	for i, x := range f.segments {
		for _, s := range x.sightings {
			list = append(list, newEvent(i, x.side, s))
		}
	}
	slices.SortStableFunc(list, func(x, y Event) int { return x.At.Compare(y.At) })
	return list
}

func newEvent(flight int, side Side, s sighting) Event {
	e := Event{
		File: s.File, Packet: s.Packet, Vantage: s.vantage, Flight: flight, At: s.Time, Side: side,
		From: s.From, To: s.To, Kind: s.Kind, Seq: s.Seq, Ack: s.Ack, TTL: s.TTL, Length: s.PayloadLen,
	}
	if s.Kind.IsICMP() {
		e.Side, e.Quotes = SideUnknown, side
		e.From, e.To = netip.AddrPortFrom(s.Reporter, 0), s.From
		e.ICMPType, e.ICMPCode = s.ICMPType, s.ICMPCode
	}
	return e
}

// translations compares an end's address at neighbouring vantage points, from
// the end outwards.
func (f *facts) translations(path []Vantage) []NAT {
	var list []NAT
	for i := 1; i < len(path); i++ {
		list = appendNAT(list, SideA, path[i-1].A, path[i].A)
	}
	for i := len(path) - 1; i > 0; i-- {
		list = appendNAT(list, SideB, path[i].B, path[i-1].B)
	}
	return list
}

func appendNAT(list []NAT, side Side, inside, outside netip.AddrPort) []NAT {
	n := NAT{Inside: inside, Outside: outside, Side: side}
	if inside.Addr() != outside.Addr() {
		n.Rewrites = append(n.Rewrites, "address")
	}
	if inside.Port() != outside.Port() {
		n.Rewrites = append(n.Rewrites, "port")
	}
	if n.Rewrites == nil {
		return list
	}
	return append(list, n)
}

// margin is by how much the SYNs overlapped. An end answers the other's SYN, or
// fails to, the moment it arrives; so where both ends answered, each SYN was in
// flight from its own departure to that of the answer which it met. Both travel
// the same way, and the delay cancels, up to its jitter: one vantage point
// anywhere is enough. With a vantage point at each end it is exact, as far as
// the files share a clock.
func (f *facts) margin(v Verdict) *time.Duration {
	if v != VerdictSimultaneousOpen && v != VerdictLateCrossing {
		return nil
	}
	if m := f.marginAtEnds(); m != nil {
		return m
	}
	gap := func(from, to int) time.Duration { return f.segments[to].Time.Sub(f.segments[from].Time) }
	if v == VerdictSimultaneousOpen {
		m := min(gap(f.syn[SideA], f.synAck[SideA]), gap(f.syn[SideB], f.synAck[SideB]))
		return &m
	}
	// The early end's SYN would have arrived half a round trip after its
	// departure, the late end's SYN left half a round trip before it was seen to
	// arrive; the sum needs the whole round trip only: SYN-ACK to its ACK.
	early := SideA
	if f.synAck[early] < 0 {
		early = SideB
	}
	if len(f.streams) > 1 || f.ack[early.Other()] < 0 {
		return nil
	}
	m := gap(f.synAck[early], f.ack[early.Other()]) - gap(f.syn[early], f.syn[early.Other()])
	return &m
}

// marginAtEnds needs each SYN at its departure and at its arrival.
func (f *facts) marginAtEnds() *time.Duration {
	synA, synB := f.segments[f.syn[SideA]], f.segments[f.syn[SideB]]
	atB, atA := synA.last(), synB.last()
	end := len(f.streams) - 1
	if end == 0 || atA.vantage != 0 || atB.vantage != end || f.streams[0].key.file == f.streams[end].key.file {
		return nil
	}
	m := min(atA.Time.Sub(synA.Time), atB.Time.Sub(synB.Time))
	return &m
}

// reset says who sent the RST that ended the opening. A RST whose hop count
// differs from that of other segments in the same name was sent elsewhere; one
// that never passed the vantage point nearest to its alleged sender, though
// other segments did, too.
func (f *facts) reset(v Verdict) *Reset {
	i := max(f.rst[SideA], f.rst[SideB])
	if v != VerdictRefused {
		return nil
	}
	for _, other := range []int{f.rst[SideA], f.rst[SideB]} {
		if other >= 0 && other < i {
			i = other
		}
	}
	rst := f.segments[i]
	comparable := 0
	for _, x := range f.segments {
		if x.side != rst.side || x.Kind.IsICMP() || x.Kind.isRst() {
			continue
		}
		if nearest := f.nearest(x); nearest != f.nearest(rst) && len(f.streams) > 1 {
			return &Reset{By: "path", Confidence: "likely"}
		}
		if x.File == rst.File && x.Interface == rst.Interface && x.TTL != rst.TTL {
			return &Reset{By: "path", Confidence: "possible"}
		}
		comparable++
	}
	confidence := "possible"
	if comparable > 0 {
		confidence = "likely"
	}
	return &Reset{By: rst.side.String(), Confidence: confidence}
}

// nearest is the vantage point nearest to the sender that saw the segment.
func (f *facts) nearest(x flight) int {
	at := x.sightings[0].vantage
	for _, s := range x.sightings {
		if x.side == SideA {
			at = min(at, s.vantage)
		} else {
			at = max(at, s.vantage)
		}
	}
	return at
}
