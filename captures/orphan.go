package captures

import (
	"net/netip"
	"slices"
	"time"
)

// maxOrphans bounds how many segments are kept that belong to no opening on
// their own pair of ports: the latest.
const maxOrphans = 4096

// leakDelay is how long after a segment a RST may still answer it.
const leakDelay = 2 * time.Second

// orphans are segments on a pair of ports where nothing was opened, and yet they
// may belong to an opening. A NAT that has lost a mapping, or that calls a RST
// invalid, lets it pass with the address that the host has inside. And where a
// capture was split, the opening is in another file, or, where each direction
// has an interface of its own, at the other one.
type orphans struct {
	list []Segment
	next int
}

// mayBeOrphan: what rejects nothing can belong to an opening elsewhere only if
// there is another file.
func mayBeOrphan(k Kind, severalFiles bool) bool {
	return k.isRst() || k.IsICMP() || severalFiles && k.acknowledges()
}

func (o *orphans) add(s Segment) {
	if len(o.list) < maxOrphans {
		o.list = append(o.list, s)
		return
	}
	o.list[o.next] = s
	o.next = (o.next + 1) % maxOrphans
}

// asked is a segment to which an orphan may answer: the end that sent it, and
// the number that the orphan then repeats.
type asked struct {
	from   netip.AddrPort
	number uint32
}

// adopt gives the flows with the orphans that belong to them, in copies where
// there are any: one that answers a segment of the flow by its number, which is
// one of 2^32, and to the port that the segment came from.
func (o *orphans) adopt(flows []*flow) []*flow {
	if len(o.list) == 0 {
		return flows
	}
	waiting := map[asked][]Segment{}
	var mayWait [1 << 10]uint64 // a bit for the low 16 of each number: most flows need no look-up
	for _, s := range o.list {
		k := asked{s.To, s.Ack}
		switch {
		case s.Kind == KindRst:
			k.number = s.Seq
		case s.Kind.IsICMP(): // it quotes the SYN
			k = asked{s.From, s.Seq + 1}
		}
		waiting[k] = append(waiting[k], s)
		mayWait[k.number>>6&1023] |= 1 << (k.number & 63)
	}
	out := slices.Clone(flows)
	for i, f := range flows {
		for _, x := range f.segments {
			for _, k := range x.expects() {
				if mayWait[k.number>>6&1023]>>(k.number&63)&1 == 0 {
					continue
				}
				for _, s := range waiting[k] {
					out[i] = out[i].adopt(f, x, s)
				}
			}
		}
	}
	return out
}

// expects is what an answer to the segment would repeat.
func (s Segment) expects() (list [2]asked) {
	if s.Kind.isSyn() {
		list[0] = asked{s.From, s.Seq + 1 + uint32(s.PayloadLen)}
	}
	if s.Kind == KindSynAck || s.Kind == KindAck {
		list[1] = asked{s.From, s.Ack}
	}
	return list
}

// adopt gives the flow with an orphan that answers its segment x, if it is a
// RST in another name at the same place, or the continuation at another one;
// before is the flow without any orphan.
func (f *flow) adopt(before *flow, x, s Segment) *flow {
	here := s.File == x.File && s.Interface == x.Interface
	leak := here && s.From != x.To && s.Kind.isRst()
	if gap := s.Time.Sub(x.Time); leak && (gap < 0 || gap > leakDelay) {
		return f
	}
	split := !here && (s.From == x.To || s.Kind.IsICMP() && s.To == x.To) && s.Time.Sub(x.Time).Abs() <= sameAttempt && f.goesOnIn(s)
	if !leak && !split || slices.ContainsFunc(f.segments, s.twice) {
		return f
	}
	if f == before {
		f = f.clone()
	}
	f.insert(s)
	return f
}

// twice reports whether x is the same frame, captured once more.
func (s Segment) twice(x Segment) bool {
	return x.File == s.File && keyOfRaw(x) == keyOfRaw(s) && s.Time.Sub(x.Time).Abs() <= duplicateFrame
}

// goesOnIn reports whether a segment of another place can be of this one:
// no segment of the same side has another TTL, and the flow does not have it.
func (f *flow) goesOnIn(s Segment) bool {
	same := 0
	for _, x := range f.segments {
		if s.Kind.IsICMP() {
			break // it has a source of its own
		}
		if x.From != s.From || x.Kind.IsICMP() {
			continue
		}
		if x.TTL != s.TTL && !x.Kind.isRst() && !s.Kind.isRst() || keyOfRaw(x) == keyOfRaw(s) {
			return false
		}
		if x.Kind == s.Kind {
			same++
		}
	}
	return same < maxPlain
}

func (f *flow) clone() *flow {
	g := *f
	g.segments = slices.Clone(f.segments)
	return &g
}

// insert keeps the order of the file, or of time between two files.
func (f *flow) insert(s Segment) {
	i := slices.IndexFunc(f.segments, func(x Segment) bool {
		return x.File == s.File && x.Packet > s.Packet || x.File != s.File && x.Time.After(s.Time)
	})
	if i < 0 {
		i = len(f.segments)
	}
	f.segments = slices.Insert(f.segments, i, s)
}

// leaked reports whether a segment of the flow has a source address that is
// not an end of the flow.
func (f *flow) leaked(s Segment) bool {
	return s.From != f.key.low && s.From != f.key.high
}
