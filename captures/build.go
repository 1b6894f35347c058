package captures

import (
	"net/netip"
	"slices"
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

// tries counts at the place that saw the most, which is the nearest to the
// sender unless that one was not listening yet.
func (f *facts) tries(side Side) (attempts, syns int, isn *uint32) {
	for _, s := range f.streams {
		end := 0
		if s.lowIsA != (side == SideA) {
			end = 1
		}
		attempts, syns = max(attempts, s.tries[end]), max(syns, s.syns[end])
	}
	if f.known[side] {
		isn = &f.isn[side]
	}
	return attempts, syns, isn
}

func (f *facts) vantages() []Vantage {
	list := make([]Vantage, len(f.streams))
	for i, s := range f.streams {
		v := Vantage{File: s.key.file, Interface: s.key.place, A: s.key.low, B: s.key.high}
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

// margin is by how much the SYNs overlapped. An end answers the other's SYN the
// moment it arrives; so where both ends answered, each SYN could have been as
// much later as lies between the other end's SYN and its SYN-ACK. Both travel
// the same way and the delay cancels, up to its jitter, so that one vantage
// point anywhere is enough, no clocks are compared, and at the ends it is exact.
func (f *facts) margin(v Verdict) *time.Duration {
	switch v {
	case VerdictSimultaneousOpen:
		gap := func(side Side) time.Duration {
			return f.segments[f.synAck[side]].Time.Sub(f.segments[f.syn[side]].Time)
		}
		m := min(gap(SideA), gap(SideB))
		return &m
	case VerdictLateCrossing:
		return f.marginMissed()
	}
	return nil
}

// marginMissed is for a late crossing. Seen from a place x before the late end,
// the early SYN would arrive x after it was seen, and the late one had left x
// before it was seen; 2x is the time from SYN-ACK to ACK at that place. Nil
// where no vantage point saw all four.
func (f *facts) marginMissed() *time.Duration {
	early := SideA
	if f.synAck[early] < 0 {
		early = SideB
	}
	late := early.Other()
	var margin *time.Duration
	for v := range f.streams {
		place := v // from the early end to the late one: the last counts
		if early == SideB {
			place = len(f.streams) - 1 - v
		}
		syn, ok1 := f.seenAt(f.syn[early], place)
		other, ok2 := f.seenAt(f.syn[late], place)
		asked, ok3 := f.seenAt(f.synAck[early], place)
		answered, ok4 := f.seenAt(f.ack[late], place)
		if ok1 && ok2 && ok3 && ok4 {
			m := syn.Sub(other) + answered.Sub(asked)
			margin = &m
		}
	}
	return margin
}

func (f *facts) seenAt(flight, vantage int) (time.Time, bool) {
	if flight < 0 {
		return time.Time{}, false
	}
	for _, s := range f.segments[flight].sightings {
		if s.vantage == vantage {
			return s.Time, true
		}
	}
	return time.Time{}, false
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
