package captures

import (
	"cmp"
	"slices"
	"time"
)

// sameSyn is how far apart one SYN may be seen at two places: a delay on the
// way and an error between clocks, far below the time after which the 32 bits
// of a sequence number could be met again by chance.
const sameSyn = 10 * time.Second

// maxCompared bounds how many flows with the same sequence number are compared
// with each: more are a scanner that uses one number for all.
const maxCompared = 16

// correlate unites the flows that show one exchange at several places. They
// share an initial sequence number, and the TCP timestamp where there is one;
// addresses tell nothing behind a NAT.
func correlate(flows []*flow) [][]*flow {
	parent := make([]int, len(flows))
	for i := range parent {
		parent[i] = i
	}
	find := func(i int) int {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	holders := map[uint32][]int{}
	for i, f := range flows {
		for k := range f.isns {
			holders[k.isn] = append(holders[k.isn], i)
		}
	}
	for isn, list := range holders {
		for n, i := range list[1:] {
			for _, j := range list[max(0, n+1-maxCompared) : n+1] {
				if find(i) != find(j) && shareSyn(flows[i], flows[j], isn) {
					parent[max(find(i), find(j))] = min(find(i), find(j))
				}
			}
		}
	}
	groups := map[int][]*flow{}
	var order []int
	for i, f := range flows {
		root := find(i)
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
// takes a timestamp to believe: a scanner may use one number for all targets.
func isForwarded(x, y Segment) bool {
	return x.Options.HasTimestamps && y.Options.HasTimestamps && y.Time.Sub(x.Time).Abs() <= duplicateFrame
}

func isSameSyn(x, y Segment) bool {
	bothStamped := x.Options.HasTimestamps && y.Options.HasTimestamps
	return y.Time.Sub(x.Time).Abs() <= sameSyn && (!bothStamped || x.Options.TSval == y.Options.TSval)
}

// newStreams tells the ends of the flows of one exchange apart: A is the
// sender of the first SYN that the first place saw. When two SYNs cross, the
// order of the files thus decides, and not a microsecond.
func newStreams(flows []*flow) []stream {
	first := slices.MinFunc(flows, func(x, y *flow) int {
		return cmp.Or(cmp.Compare(x.key.file, y.key.file), cmp.Compare(x.key.place, y.key.place), x.segments[0].Time.Compare(y.segments[0].Time))
	})
	opener := first.segments[0].From
	if first.segments[0].Kind == KindSynAck { // the SYN itself was not captured
		opener = first.segments[0].To
	}
	sideOf := map[uint32]Side{}
	assigned := []stream{newStream(first, opener == first.key.low, sideOf)}
	rest := slices.DeleteFunc(slices.Clone(flows), func(f *flow) bool { return f == first })
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(f *flow) bool { return f.orientation(sideOf) != SideUnknown })
		if i < 0 {
			break // they share a number with a flow of their own only: cannot be, but must not loop
		}
		assigned = append(assigned, newStream(rest[i], rest[i].orientation(sideOf) == SideA, sideOf))
		rest = slices.Delete(rest, i, i+1)
	}
	return assigned
}

func newStream(f *flow, lowIsA bool, sideOf map[uint32]Side) stream {
	s := stream{f, lowIsA}
	for _, x := range f.segments {
		if x.Kind.isSyn() {
			sideOf[x.Seq] = s.side(x)
		}
	}
	return s
}

// orientation is the side of the flow's low end.
func (f *flow) orientation(sideOf map[uint32]Side) Side {
	for _, x := range f.segments {
		side := sideOf[x.Seq]
		if !x.Kind.isSyn() || side == SideUnknown {
			continue
		}
		if x.From == f.key.low {
			return side
		}
		return side.Other()
	}
	return SideUnknown
}
