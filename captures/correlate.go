package captures

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// sameSyn is how far apart one SYN may be seen at two places that share a
// clock: a delay on the way, far below the time after which the 32 bits of a
// sequence number could be met again by chance.
const sameSyn = 10 * time.Second

// maxCompared bounds how many flows with the same sequence number are compared
// with each: more are a scanner that uses one number for all.
const maxCompared = 16

// correlate unites the flows that show one exchange at several places. They
// share an initial sequence number, and the TCP timestamp where there is one;
// where a NAT rewrites the number, what it leaves alone must be unmistakable.
// Addresses tell nothing behind a NAT.
func correlate(flows []*flow) [][]*flow {
	u := newUnion(len(flows))
	u.bySequence(flows)
	if severalPlaces(flows) {
		u.byFingerprint(flows)
		u.byContinuation(flows)
	}
	groups := map[int][]*flow{}
	var order []int
	for i, f := range flows {
		root := u.find(i)
		if groups[root] == nil {
			order = append(order, root)
		}
		groups[root] = append(groups[root], f)
	}
	out := make([][]*flow, len(order))
	for i, root := range order {
		out[i] = groups[root]
	}
	return out
}

// maxUnited bounds how many flows are taken for one exchange, which is more
// places than anybody captures at: what is done with them grows with the square.
const maxUnited = 256

// union is a disjoint-set forest over the indices of flows; the root of each
// set is its least index.
type union struct{ parent, size []int }

func newUnion(n int) union {
	u := union{make([]int, n), make([]int, n)}
	for i := range n {
		u.parent[i], u.size[i] = i, 1
	}
	return u
}

func (u union) find(i int) int {
	for u.parent[i] != i {
		u.parent[i] = u.parent[u.parent[i]]
		i = u.parent[i]
	}
	return i
}

// unite leaves two sets apart that together would be too large.
func (u union) unite(i, j int) {
	i, j = u.find(i), u.find(j)
	if i == j || u.size[i]+u.size[j] > maxUnited {
		return
	}
	root := min(i, j)
	u.parent[max(i, j)] = root
	u.size[root] = u.size[i] + u.size[j]
}

func severalPlaces(flows []*flow) bool {
	return slices.ContainsFunc(flows, func(f *flow) bool { return !samePlace(f, flows[0]) })
}

func (u union) bySequence(flows []*flow) {
	type holder struct {
		isn  uint32
		flow int
	}
	var list []holder
	for i, f := range flows {
		for k := range f.isns {
			list = append(list, holder{k.isn, i})
		}
	}
	slices.SortFunc(list, func(x, y holder) int { return cmp.Or(cmp.Compare(x.isn, y.isn), cmp.Compare(x.flow, y.flow)) })
	for n, x := range list {
		for _, y := range list[max(0, n-maxCompared):n] {
			if x.isn == y.isn && u.find(x.flow) != u.find(y.flow) && shareSyn(flows[x.flow], flows[y.flow], x.isn) {
				u.unite(x.flow, y.flow)
			}
		}
	}
}

// shareSyn reports whether two flows show the same SYN or SYN-ACK.
func shareSyn(f, g *flow, isn uint32) bool {
	for _, x := range f.segments {
		if !x.Kind.isSyn() || x.Seq != isn {
			continue
		}
		for _, y := range g.segments {
			if y.Kind == x.Kind && y.Seq == isn && isSameSyn(x, y) && (!samePlace(f, g) || isForwarded(x, y)) {
				return true
			}
		}
	}
	return false
}

func samePlace(f, g *flow) bool {
	return f.key.file == g.key.file && f.key.place == g.key.place
}

// isForwarded is for one place that sees a SYN before and after a NAT, which
// takes a timestamp and the identification of the packet to believe: a scanner
// may use one number, and one timestamp, for all targets.
func isForwarded(x, y Segment) bool {
	return x.Options.HasTimestamps && y.Options.HasTimestamps && x.ID == y.ID && y.Time.Sub(x.Time).Abs() <= duplicateFrame
}

// isSameSyn is for two sightings with one sequence number. The clocks of two
// files may be hours apart: then the timestamp must be there and agree too, or
// what a SYN-ACK acknowledges, which makes it 64 bits.
func isSameSyn(x, y Segment) bool {
	bothStamped := x.Options.HasTimestamps && y.Options.HasTimestamps
	if bothStamped && x.Options.TSval != y.Options.TSval {
		return false
	}
	near := y.Time.Sub(x.Time).Abs() <= sameSyn
	answers := x.Kind == KindSynAck && x.Ack == y.Ack
	return near || x.File != y.File && (bothStamped && x.Options == y.Options || answers)
}

// fingerprint is what a NAT that rewrites sequence numbers leaves alone in a
// SYN: the timestamp, the identification of the IPv4 packet, the window, and
// which options there are.
type fingerprint struct {
	kind     Kind
	tsval    uint32
	layout   uint64
	window   uint16
	id       uint16
	dataSize int
}

// fingerprintOf is false for a SYN that has too little to be told by.
func fingerprintOf(s Segment) (fingerprint, bool) {
	p := fingerprint{s.Kind, s.Options.TSval, s.Options.Layout, s.Window, s.ID, s.PayloadLen}
	return p, s.Kind.isSyn() && (p.tsval != 0 || p.id != 0)
}

// byFingerprint unites flows of different places whose SYNs differ in their
// sequence numbers only. One of two places must know an address and port that
// the other knows, since a NAT translates one end; and there must be no second
// flow that would fit.
func (u union) byFingerprint(flows []*flow) {
	holders := map[fingerprint][]int{}
	var order []fingerprint
	for i, f := range flows {
		for _, x := range f.segments {
			p, ok := fingerprintOf(x)
			list := holders[p]
			if last := len(list) - 1; !ok || last >= 0 && list[last] == i {
				continue
			}
			if holders[p] = append(list, i); list == nil {
				order = append(order, p)
			}
		}
	}
	for _, p := range order {
		list := holders[p]
		if len(list) < 2 || len(list) > maxCompared {
			continue
		}
		for n, i := range list {
			for _, j := range list[:n] {
				if shareFingerprint(flows, list, i, j, p) {
					u.unite(i, j)
				}
			}
		}
	}
}

func shareFingerprint(flows []*flow, list []int, i, j int, p fingerprint) bool {
	f, g := flows[i], flows[j]
	if samePlace(f, g) || !shareEnd(f, g) {
		return false
	}
	for _, k := range list {
		if k != i && k != j && (samePlace(flows[k], f) && shareEnd(flows[k], g) || samePlace(flows[k], g) && shareEnd(flows[k], f)) {
			return false
		}
	}
	x, y := f.withFingerprint(p), g.withFingerprint(p)
	return y.Time.Sub(x.Time).Abs() <= sameSyn
}

func shareEnd(f, g *flow) bool {
	return f.key.low == g.key.low || f.key.low == g.key.high || f.key.high == g.key.low || f.key.high == g.key.high
}

func (f *flow) withFingerprint(p fingerprint) Segment {
	i := slices.IndexFunc(f.segments, func(s Segment) bool {
		q, ok := fingerprintOf(s)
		return ok && q == p
	})
	return f.segments[i]
}

// byContinuation unites flows on the same pair of ports at different places that
// are of one capture that was split, in time or by direction.
func (u union) byContinuation(flows []*flow) {
	type ends struct{ low, high netip.AddrPort }
	holders := map[ends][]int{}
	for i, f := range flows {
		k := ends{f.key.low, f.key.high}
		list := holders[k]
		for _, j := range list[max(0, len(list)-maxCompared):] {
			if u.find(i) != u.find(j) && (isSplit(flows[i], flows[j]) || areDirections(flows[i], flows[j])) {
				u.unite(i, j)
			}
		}
		holders[k] = append(list, i)
	}
}
