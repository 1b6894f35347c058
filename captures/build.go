package captures

import (
	"cmp"
	"net/netip"
	"slices"
)

// Handshakes judges all openings seen so far, in the order of their beginning.
func (a *Analyzer) Handshakes() []Handshake {
	list, _ := a.openings()
	a.orphans.list = a.strays()
	a.gather(list)
	handshakes := []Handshake{}
	a.judge(func(h Handshake) { handshakes = append(handshakes, h) })
	sortHandshakes(handshakes)
	return handshakes
}

// gather prepares openings to be judged.
func (a *Analyzer) gather(list []opened) {
	a.flows = nil
	for _, o := range list {
		f := o.shard.expand(o.number)
		f.grain = a.grain(f.key.file)
		a.flows = append(a.flows, f)
	}
	if a.hide == nil {
		return
	}
	for _, f := range a.flows {
		a.hide.flow(f)
	}
	for i := range a.orphans.list {
		a.hide.segment(&a.orphans.list[i])
	}
}

// strays are the RSTs that belong to no opening on their own pair of ports.
func (a *Analyzer) strays() []Segment {
	var list []Segment
	for i := range a.shards {
		list = append(list, a.shards[i].orphans.list...)
	}
	slices.SortFunc(list, func(x, y Segment) int { return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Packet, y.Packet)) })
	return list
}

// verdictOf judges an opening that one place shows.
func verdictOf(f *flow) Verdict {
	streams := newStreams([]*flow{f})
	orderByPath(streams)
	facts := gather(newExchange(streams))
	return facts.judge()
}

// judge passes each handshake on, and tells what the exchanges say about the
// files' clocks.
func (a *Analyzer) judge(emit func(Handshake)) []Clock {
	var groups [][]stream
	for _, group := range correlate(a.orphans.adopt(a.flows)) {
		streams := newStreams(group)
		orderByPath(streams)
		groups = append(groups, streams)
	}
	clocks := a.alignAll(groups)
	for file := len(clocks); file < len(a.files); file++ { // those beyond maxClocks
		clocks = append(clocks, Clock{File: file, Consistent: clocks[0].Consistent})
	}
	for _, streams := range groups {
		emit(newHandshake(newExchange(streams)))
	}
	return clocks
}

// alignAll compares the clocks of the files in all exchanges, or, where no one
// offset fits them all, in each.
func (a *Analyzer) alignAll(groups [][]stream) []Clock {
	files := min(len(a.files), maxClocks)
	if files < 2 {
		return newDifferences(files).clocks()
	}
	all := newDifferences(files)
	for _, streams := range groups {
		all.note(newExchange(streams))
	}
	clocks := all.clocks()
	for _, streams := range groups {
		fitting := clocks
		if !clocks[0].Consistent {
			own := newDifferences(files)
			own.note(newExchange(streams))
			fitting = own.clocks()
		}
		align(streams, fitting)
	}
	return clocks
}

func newHandshake(e exchange) Handshake {
	f := gather(e)
	h := Handshake{Verdict: f.judge(), Vantages: f.vantages(), Events: f.events(), NAT: []NAT{}, Evidence: []Evidence{}}
	h.Established = f.established(h.Verdict)
	h.A, h.B = h.Vantages[0].A, h.Vantages[len(h.Vantages)-1].B
	h.CrossingMargin = f.margin(h.Verdict)
	h.AttemptsA, h.SynsA, h.ISNA = f.tries(SideA)
	h.AttemptsB, h.SynsB, h.ISNB = f.tries(SideB)
	changes := f.translations()
	for _, t := range changes {
		h.NAT = append(h.NAT, t.NAT)
	}
	h.Leaks, h.Cadence = f.leaks(h.Vantages), f.cadences()
	h.Reset, h.ICMP = f.reset(h.Verdict), f.icmpError(h.Verdict)
	h.Evidence = append(h.Evidence, f.evidence(h, changes)...)
	h.Limits = f.limits(h)
	return h
}

// tries counts at the place that saw the most, which is the nearest to the
// sender unless that one was not listening yet.
func (f *facts) tries(side Side) (attempts, syns int, isn *uint32) {
	for _, s := range f.streams {
		end := 0
		if s.lowIsA != (side == SideA) && !f.isSelf() {
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
		From: s.From, To: s.To, Kind: s.Kind, Seq: s.seen.Seq, Ack: s.seen.Ack, TTL: s.TTL, Length: s.PayloadLen,
		Leaked: s.leaked,
	}
	if s.Kind.IsICMP() {
		e.Side, e.Quotes = SideUnknown, side
		e.From, e.To = netip.AddrPortFrom(s.Reporter, 0), s.From
		e.ICMPType, e.ICMPCode = s.ICMPType, s.ICMPCode
	}
	return e
}
