package captures

import (
	"iter"
	"net/netip"
)

// node is a Segment that is kept, in 64 bytes without pointers. An opening has
// the numbers of its first few; the others are linked from the latest on.
type node struct {
	time     int64
	packet   uint64
	layout   uint64 // of an ICMP error: the number of its note
	seq, ack uint32
	tsval    uint32
	tsecr    uint32
	payload  uint32
	window   uint16
	mss      uint16
	ipID     uint16
	kind     Kind
	bits     uint8
	ttl      uint8
	scale    uint8
	_        [2]byte
	before   uint32  // node; 0 for the first that is linked
	_        [4]byte // to 64
}

// nodesOf goes over an opening's nodes from the latest to the first.
func (s *shard) nodesOf(o *opening) iter.Seq2[uint32, *node] {
	return func(yield func(uint32, *node) bool) {
		i := o.latest
		for at := int(o.count) - 1; at >= 0; at-- {
			if at < fewNodes {
				i = o.nodes[at]
			}
			x := s.nodes.at(i)
			before := x.before
			if !yield(i, x) {
				return
			}
			i = before
		}
	}
}

// The bits of a node.
const (
	nodeFromLow = 1 << iota
	nodeDF
	nodeScale
	nodeSACK
	nodeStamps
)

// icmpNote is what an ICMP error has beyond a segment.
type icmpNote struct {
	reporter   [16]byte
	is6        bool
	kind, code uint8
	quotedTTL  uint8
}

func bitIf(set bool, bit uint8) uint8 {
	if set {
		return bit
	}
	return 0
}

// set fills a node where it lies, since a copy would wait for each of its parts.
func (n *node) set(l *look) {
	var o Options
	if l.decoded != nil {
		o = l.decoded.Options
	} else {
		o.read(l.tcp)
	}
	n.time, n.packet, n.layout = l.time, l.packet, o.Layout
	n.seq, n.ack, n.tsval, n.tsecr, n.payload = l.seq, l.ack, o.TSval, o.TSecr, l.payload
	n.window, n.mss, n.ipID, n.kind, n.ttl, n.scale = l.window, o.MSS, l.ipID, l.kind, l.ttl, o.WindowScale
	n.bits = bitIf(l.fromLow, nodeFromLow) | bitIf(l.df, nodeDF) | bitIf(o.HasWindowScale, nodeScale) |
		bitIf(o.SACKPermitted, nodeSACK) | bitIf(o.HasTimestamps, nodeStamps)
}

func newICMPNote(s *Segment) icmpNote {
	return icmpNote{s.Reporter.As16(), s.Reporter.Is6(), s.ICMPType, s.ICMPCode, s.QuotedTTL}
}

func (n *node) has(bit uint8) bool { return n.bits&bit != 0 }

// segment is the node in the words of the rest of the package.
func (n *node) segment(k flowKey, notes *slab[icmpNote]) Segment {
	s := Segment{
		File: k.file, Packet: int(n.packet), Interface: k.place, Time: timeOf(n.time), From: k.high, To: k.low,
		Kind: n.kind, Seq: n.seq, Ack: n.ack, Window: n.window, TTL: n.ttl, ID: n.ipID, DontFragment: n.has(nodeDF), PayloadLen: int(n.payload),
	}
	if n.has(nodeFromLow) {
		s.From, s.To = k.low, k.high
	}
	if n.kind.IsICMP() {
		note := notes.at(uint32(n.layout))
		s.Reporter = netip.AddrFrom16(note.reporter)
		if !note.is6 {
			s.Reporter = s.Reporter.Unmap()
		}
		s.ICMPType, s.ICMPCode, s.QuotedTTL = note.kind, note.code, note.quotedTTL
		return s
	}
	s.Options = Options{
		MSS: n.mss, WindowScale: n.scale, HasWindowScale: n.has(nodeScale), SACKPermitted: n.has(nodeSACK),
		HasTimestamps: n.has(nodeStamps), TSval: n.tsval, TSecr: n.tsecr, Layout: n.layout,
	}
	return s
}
