package lab

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"
)

// sighting is what the lab itself saw of a packet between the two sites, at
// the edge of the internet and on one clock.
type sighting struct {
	from    byte // 'a' or 'b'
	sent    time.Time
	arrived time.Time // zero if it did not
	late    time.Duration
	header  header
}

// header is the part of an IP packet with TCP that the truth needs.
type header struct {
	source, destination netip.AddrPort
	syn, ack, rst       bool
}

const (
	flagSYN, flagRST, flagACK = 0x02, 0x04, 0x10
	protocolTCP               = 6
)

// parseHeader reads IPv4 and IPv6 without extension headers, which is all that
// kernels send here for TCP.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < 20 {
		return header{}, false
	}
	var source, destination netip.Addr
	switch length := int(b[0]&15) * 4; {
	case b[0]>>4 == 4 && b[9] == protocolTCP && len(b) >= length:
		source, _ = netip.AddrFromSlice(b[12:16])
		destination, _ = netip.AddrFromSlice(b[16:20])
		b = b[length:]
	case b[0]>>4 == 6 && len(b) >= 40 && b[6] == protocolTCP:
		source, _ = netip.AddrFromSlice(b[8:24])
		destination, _ = netip.AddrFromSlice(b[24:40])
		b = b[40:]
	default:
		return header{}, false
	}
	if len(b) < 14 {
		return header{}, false
	}
	flags := b[13]
	return header{
		source:      netip.AddrPortFrom(source, binary.BigEndian.Uint16(b)),
		destination: netip.AddrPortFrom(destination, binary.BigEndian.Uint16(b[2:])),
		syn:         flags&flagSYN != 0, ack: flags&flagACK != 0, rst: flags&flagRST != 0,
	}, true
}

// edges are the addresses by which the two sites show themselves.
type edges struct{ a, b []netip.Prefix }

func edgesOf(s Scenario) edges {
	return edges{a: s.edge("a"), b: s.edge("b")}
}

// edge is where packets of a side come from on the internet.
func (s Scenario) edge(side string) []netip.Prefix {
	var list []netip.Prefix
	for _, n := range s.Nodes {
		if n.Name != side && n.Name != "nat-"+side {
			continue
		}
		for _, i := range n.Interfaces {
			if i.Segment == internet {
				list = append(append(list, i.Addresses...), i.Routed...)
			}
		}
	}
	return list
}

// sidesOf are the edges, and what the clients' own addresses are behind them.
func sidesOf(s Scenario) edges {
	e := edgesOf(s)
	for _, n := range s.Nodes {
		switch n.Name {
		case "a":
			e.a = append(e.a, hosts(n)...)
		case "b":
			e.b = append(e.b, hosts(n)...)
		}
	}
	return e
}

func hosts(n Node) []netip.Prefix {
	var list []netip.Prefix
	for _, a := range n.addresses() {
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

// between says from which side to the other a packet goes; 0 if it is another.
func (e edges) between(h header) byte {
	switch {
	case within(e.a, h.source) && within(e.b, h.destination):
		return 'a'
	case within(e.b, h.source) && within(e.a, h.destination):
		return 'b'
	}
	return 0
}

func within(list []netip.Prefix, a netip.AddrPort) bool {
	for _, p := range list {
		if p.Contains(a.Addr()) {
			return true
		}
	}
	return false
}

// truth is what the lab knows of one trial.
type truth struct {
	sightings []sighting
	outside   bool // the addresses in them are those on the internet
}

// firstSYN is a side's first opening packet to the other.
func (t truth) firstSYN(side byte) (sighting, bool) {
	for _, s := range t.sightings {
		if s.from == side && s.header.syn && !s.header.ack {
			return s, true
		}
	}
	return sighting{}, false
}

// skew is B's first SYN minus A's.
func (t truth) skew() *int64 {
	a, okA := t.firstSYN('a')
	b, okB := t.firstSYN('b')
	if !okA || !okB {
		return nil
	}
	d := int64(b.sent.Sub(a.sent))
	return &d
}

// lateness is the worst of the packets between the two sides.
func (t truth) lateness() time.Duration {
	var worst time.Duration
	for _, s := range t.sightings {
		worst = max(worst, s.late)
	}
	return worst
}

// mispredicted says whether a side aimed all of its SYNs at ports that the
// other's box never used, although both sent.
func (t truth) mispredicted() bool {
	used := map[byte]map[netip.AddrPort]bool{'a': {}, 'b': {}}
	for _, s := range t.sightings {
		if s.header.syn && !s.header.ack {
			used[s.from][s.header.source] = true
		}
	}
	if len(used['a']) == 0 || len(used['b']) == 0 {
		return false
	}
	return !t.aimedAt('a', used['b']) || !t.aimedAt('b', used['a'])
}

func (t truth) aimedAt(from byte, ports map[netip.AddrPort]bool) bool {
	for _, s := range t.sightings {
		if s.from == from && s.header.syn && !s.header.ack && ports[s.header.destination] {
			return true
		}
	}
	return false
}

// cause is why the meeting of two profiles failed, where that can be told
// without the tool: by what the configuration forbids, then by what was seen.
func (t truth) cause(c Config) *string {
	word := ""
	switch {
	case !reachable(c.A, c.B):
		word = "infeasible"
	case c.A.Shared || c.B.Shared:
		word = "no-hairpin"
	case !t.sent() && probability(c) < hopeless:
		word = "infeasible"
	case t.outside && t.mispredicted():
		word = "port-mispredicted"
	case t.reset() && c.NoSync:
		word = "clock-too-poor"
	case t.reset():
		word = "nat-reset"
	default:
		return nil
	}
	return &word
}

func (t truth) sent() bool {
	_, a := t.firstSYN('a')
	_, b := t.firstSYN('b')
	return a || b
}

const (
	hopeless      = 0.5   // below this chance, giving up without a SYN is right
	defaultBudget = 100   // SYNs of a meeting that is not told otherwise
	randomPorts   = 64512 // of netfilter's fully-random choice: 1024 to 65535
)

// probability is the best chance that the ports of two profiles meet when the
// two sides together may send the budget: with one port known and m aimed at
// from k, 1 − exp(−mk/N), best at m = k; with none known each pair meets with
// 1/N².
func probability(c Config) float64 {
	n := float64(c.Budget)
	if c.Budget == 0 {
		n = defaultBudget
	}
	pairs := n * n / 4
	switch a, b := c.A.Ports == PortsRandom, c.B.Ports == PortsRandom; {
	case a && b:
		return 1 - math.Exp(-pairs/randomPorts/randomPorts)
	case a || b:
		return 1 - math.Exp(-pairs/randomPorts)
	}
	return 1
}

// reset says whether a RST went from one side to the other before either had
// an answer.
func (t truth) reset() bool {
	for _, s := range t.sightings {
		if s.header.rst {
			return true
		}
		if s.header.syn && s.header.ack {
			return false
		}
	}
	return false
}
