package captures

import (
	"net/netip"
	"slices"
	"time"
)

// maxOrphans bounds how many RSTs are kept that belong to no opening on their
// own pair of ports: the latest.
const maxOrphans = 4096

// leakDelay is how long after a segment a RST may still answer it.
const leakDelay = 2 * time.Second

// orphans are RSTs on a pair of ports where nothing was opened. A NAT that
// has lost a mapping, or that calls the RST invalid, lets it pass with the
// address that the host has inside: such a RST belongs to an opening in another
// name.
type orphans struct {
	list []Segment
	next int
}

func (o *orphans) add(s Segment) {
	if len(o.list) < maxOrphans {
		o.list = append(o.list, s)
		return
	}
	o.list[o.next] = s
	o.next = (o.next + 1) % maxOrphans
}

// asked is a segment to which a RST may answer: the end that sent it, and the
// number that the RST then has to repeat.
type asked struct {
	file, place int
	from        netip.AddrPort
	number      uint32
}

// adopt gives copies of the flows that some orphan belongs to: it answers a
// segment of the flow at the same place by its number, which is one of 2^32,
// and to the port that the segment came from.
func (o *orphans) adopt(flows []*flow) []*flow {
	if len(o.list) == 0 {
		return flows
	}
	wanted := map[asked][]int{}
	for i, f := range flows {
		for _, s := range f.segments {
			k := asked{s.File, s.Interface, s.From, s.Seq + 1 + uint32(s.PayloadLen)}
			if s.Kind.isSyn() {
				wanted[k] = append(wanted[k], i)
			}
			if k.number = s.Ack; s.Kind == KindSynAck || s.Kind == KindAck {
				wanted[k] = append(wanted[k], i)
			}
		}
	}
	out := slices.Clone(flows)
	for _, s := range o.list {
		k := asked{s.File, s.Interface, s.To, s.Seq}
		if s.Kind == KindRstAck {
			k.number = s.Ack
		}
		if i, ok := o.parent(flows, wanted[k], s); ok {
			if out[i] == flows[i] {
				out[i] = flows[i].clone()
			}
			out[i].insert(s)
		}
	}
	return out
}

func (o *orphans) parent(flows []*flow, candidates []int, s Segment) (int, bool) {
	for _, i := range candidates {
		for _, x := range flows[i].segments {
			if gap := s.Time.Sub(x.Time); x.From == s.To && gap >= 0 && gap <= leakDelay {
				return i, true
			}
		}
	}
	return 0, false
}

func (f *flow) clone() *flow {
	g := *f
	g.segments = slices.Clone(f.segments)
	return &g
}

// insert keeps the order of the file.
func (f *flow) insert(s Segment) {
	i := slices.IndexFunc(f.segments, func(x Segment) bool { return x.Packet > s.Packet })
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
