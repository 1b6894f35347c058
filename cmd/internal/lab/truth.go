package lab

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"
)

// sighting is what the lab itself saw of a packet between the two sites, at
// the edge of the internet and on one clock.
type sighting struct {
	from    byte // 'a' or 'b'
	sent    time.Time
	arrived time.Time // zero if it did not
	late    time.Duration
	expired bool // a hop dropped it, since its TTL ran out, and said so
	header  header
}

// header is the part of an IP packet with TCP or UDP that the truth needs.
type header struct {
	source, destination netip.AddrPort
	syn, ack, rst       bool
	seq, acked          uint32             // sequence and acknowledgement numbers
	datagram            bool               // UDP, whose only packets between the sites are those of the control
	unreachable         bool               // an ICMP error other than that the TTL ran out; without ports
	quoted              *[2]netip.AddrPort // of an ICMP error: from where to where the packet went that it is about
}

// opens says that it is a SYN without an ACK, or a datagram, which opens
// whatever it is aimed at.
func (h header) opens() bool { return h.syn && !h.ack || h.datagram }

const (
	flagSYN, flagRST, flagACK = 0x02, 0x04, 0x10

	protocolICMP, protocolTCP, protocolUDP, protocolICMPv6 = 1, 6, 17, 58

	unreachable4, unreachable6 = 3, 1 // ICMP types: RFC 792, RFC 4443
)

// parseHeader reads TCP, UDP and ICMP errors over IPv4 and IPv6 without extension
// headers, which is all that kernels send here for them.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < 20 {
		return header{}, false
	}
	var source, destination netip.Addr
	var protocol byte
	switch length := int(b[0]&15) * 4; {
	case b[0]>>4 == 4 && len(b) >= length:
		source, _ = netip.AddrFromSlice(b[12:16])
		destination, _ = netip.AddrFromSlice(b[16:20])
		protocol, b = b[9], b[length:]
	case b[0]>>4 == 6 && len(b) >= 40:
		source, _ = netip.AddrFromSlice(b[8:24])
		destination, _ = netip.AddrFromSlice(b[24:40])
		protocol, b = b[6], b[40:]
	default:
		return header{}, false
	}
	if protocol == protocolICMP || protocol == protocolICMPv6 {
		h.source, h.destination = netip.AddrPortFrom(source, 0), netip.AddrPortFrom(destination, 0)
		h.unreachable = len(b) > 0 && (protocol == protocolICMP && b[0] == unreachable4 || protocol == protocolICMPv6 && b[0] == unreachable6)
		h.quoted = quotedBy(b)
		return h, h.unreachable
	}
	if protocol == protocolUDP && len(b) >= 8 {
		return header{datagram: true, source: netip.AddrPortFrom(source, binary.BigEndian.Uint16(b)),
			destination: netip.AddrPortFrom(destination, binary.BigEndian.Uint16(b[2:]))}, true
	}
	if protocol != protocolTCP || len(b) < 14 {
		return header{}, false
	}
	flags := b[13]
	return header{
		source:      netip.AddrPortFrom(source, binary.BigEndian.Uint16(b)),
		destination: netip.AddrPortFrom(destination, binary.BigEndian.Uint16(b[2:])),
		syn:         flags&flagSYN != 0, ack: flags&flagACK != 0, rst: flags&flagRST != 0,
		seq: binary.BigEndian.Uint32(b[4:]), acked: binary.BigEndian.Uint32(b[8:]),
	}, true
}

// quotedBy reads the ends of the packet that an ICMP error is about: behind
// eight bytes its IP header and at least eight bytes more (RFC 792).
func quotedBy(icmp []byte) *[2]netip.AddrPort {
	if len(icmp) < 8 {
		return nil
	}
	quote := icmp[8:]
	var from, to netip.Addr
	switch {
	case len(quote) >= 20 && quote[0]>>4 == 4:
		from, _ = netip.AddrFromSlice(quote[12:16])
		to, _ = netip.AddrFromSlice(quote[16:20])
		quote = quote[min(int(quote[0]&15)*4, len(quote)):]
	case len(quote) >= 40 && quote[0]>>4 == 6:
		from, _ = netip.AddrFromSlice(quote[8:24])
		to, _ = netip.AddrFromSlice(quote[24:40])
		quote = quote[40:]
	}
	if len(quote) < 4 || !from.IsValid() {
		return nil
	}
	return &[2]netip.AddrPort{netip.AddrPortFrom(from, binary.BigEndian.Uint16(quote)), netip.AddrPortFrom(to, binary.BigEndian.Uint16(quote[2:]))}
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
		if n.Name != side && sideOf(n.Name) != side {
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
	outside   bool      // the addresses in them are those on the internet
	mappings  []Mapping // of all boxes
	edges     edges     // what is decided about others' packets, such as the coordinator's, matters not
}

// firstSYN is a side's first opening packet to the other.
func (t truth) firstSYN(side byte) (sighting, bool) {
	for _, s := range t.sightings {
		if s.from == side && s.header.opens() {
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

// sideOf is the side of a box: nat-a and nat-a-2 are A's.
func sideOf(box string) string {
	rest, ok := strings.CutPrefix(box, "nat-")
	if !ok {
		return ""
	}
	side, _, _ := strings.Cut(rest, "-")
	return side
}
