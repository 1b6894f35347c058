package captures

import (
	"fmt"
	"net/netip"
)

// Origin says who sent what ended the opening, a RST or an ICMP error. Each
// reason has a weight: about how many times likelier it is, as a power of two,
// if a box on the path sent it (positive) than if the end did in whose name it
// comes (negative). The weights are judgement, not measurement, but for those
// of 8, which stand for what cannot be otherwise where the captures are whole.
type Origin struct {
	By         string   `json:"by"`         // "a", "b", or "path" for a box between them
	Confidence string   `json:"confidence"` // "proven" (8 and more), "likely" (3 and more) or "possible"
	Score      int      `json:"score"`      // sum of the weights
	Between    *[2]int  `json:"between"`    // vantages between which it arose; nil: not known
	Reasons    []Reason `json:"reasons"`
	File       int      `json:"file"`
	Packet     int      `json:"packet"`
}

// Reason is one piece of evidence about an Origin.
type Reason struct {
	Text   string `json:"text"`
	Weight int    `json:"weight"`
	File   int    `json:"file"`
	Packet int    `json:"packet"`
}

// ICMPError is what an ICMP error says that ended the opening.
type ICMPError struct {
	Origin
	Reporter netip.Addr `json:"reporter"`
	Type     uint8      `json:"type"`
	Code     uint8      `json:"code"`
	Meaning  string     `json:"meaning"`
}

const (
	proven = 8
	likely = 3
)

// rejection is the segment or error that ended the opening: the first, since
// what follows is often its consequence. Its refuser is the side in whose name
// it is; the other side's SYN or SYN-ACK was asked.
type rejection struct {
	*facts
	flight
	refuser Side
	asked   int  // the latest segment that it can answer, or -1
	revokes bool // the refuser had answered with a SYN-ACK
	origin  Origin
}

func (f *facts) rejection(v Verdict) *rejection {
	index := -1
	for _, side := range []Side{SideA, SideB} {
		for _, i := range []int{f.rst[side], f.icmp[side]} {
			isICMP := i >= 0 && f.segments[i].Kind.IsICMP()
			if i >= 0 && isICMP == (v == VerdictICMPRejected) && (!isICMP || f.fatal(i)) && (index < 0 || i < index) {
				index = i
			}
		}
	}
	if index < 0 || v != VerdictRefused && v != VerdictICMPRejected {
		return nil
	}
	r := &rejection{facts: f, flight: f.segments[index], asked: -1}
	r.refuser = r.flight.side
	if r.Kind.IsICMP() {
		r.refuser = r.refuser.Other()
	}
	answer := f.synAck[r.refuser]
	r.revokes = answer >= 0 && answer < index
	for i, x := range f.segments[:index] {
		if x.side == r.refuser.Other() && !x.Kind.IsICMP() && !x.Kind.isRst() {
			r.asked = i
		}
	}
	r.origin = Origin{Reasons: []Reason{}, File: r.File, Packet: r.Packet}
	return r
}

// reset weighs who sent the RST.
func (f *facts) reset(v Verdict) *Origin {
	r := f.rejection(v)
	if r == nil || v != VerdictRefused {
		return nil
	}
	r.weighWhere()
	r.weighBehaviour()
	r.weighForm()
	r.weighTiming()
	return r.conclude()
}

// icmpError weighs who sent the ICMP error.
func (f *facts) icmpError(v Verdict) *ICMPError {
	r := f.rejection(v)
	if r == nil || v != VerdictICMPRejected {
		return nil
	}
	r.weighWhere()
	r.weighReporter()
	r.weighTiming()
	return &ICMPError{*r.conclude(), r.Reporter, r.ICMPType, r.ICMPCode, icmpMeaning(r.Segment)}
}

func (r *rejection) conclude() *Origin {
	o := &r.origin
	for _, reason := range o.Reasons {
		o.Score += reason.Weight
	}
	o.By = r.refuser.String()
	if o.Score > 0 {
		o.By = "path"
	}
	switch strength := max(o.Score, -o.Score); {
	case strength >= proven:
		o.Confidence = "proven"
	case strength >= likely:
		o.Confidence = "likely"
	default:
		o.Confidence = "possible"
	}
	if o.By != "path" {
		o.Between = nil
	}
	return o
}

func (r *rejection) add(weight int, x Segment, format string, args ...any) {
	r.origin.Reasons = append(r.origin.Reasons, Reason{fmt.Sprintf(format, args...), weight, x.File, x.Packet})
}

// end is the vantage point nearest to a side.
func (f *facts) end(side Side) int {
	if side == SideB {
		return len(f.streams) - 1
	}
	return 0
}

// atHome reports whether the nearest vantage point to a side is on its host:
// what it sends has lost no hop there, SYNs aside that were sent with a TTL too
// low for a usual one.
func (f *facts) atHome(side Side) (home bool) {
	for _, x := range f.segments {
		s, ok := x.at(f.end(side))
		if !ok || x.side != side || x.Kind.IsICMP() || x.Kind.isRst() || s.leaked {
			continue
		}
		switch n := hops(s.TTL); {
		case n == 0:
			home = true
		case n <= farthestHops:
			return false
		}
	}
	return home
}

// farthestHops is more routers than lie on any path: a TTL that would mean more
// began with none of the usual values, as that of a SYN that is to die on its way.
const farthestHops = 40

// hops is how many routers a segment has behind it, if it began with one of the
// usual TTLs: 64 (Unix), 128 (Windows), 255 (routers).
func hops(ttl uint8) int { return int(initialTTL(ttl)) - int(ttl) }

func initialTTL(ttl uint8) uint8 {
	switch {
	case ttl <= 64:
		return 64
	case ttl <= 128:
		return 128
	}
	return 255
}
