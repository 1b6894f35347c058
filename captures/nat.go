package captures

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NAT is what changes between two neighbouring vantage points: the name of an
// end, or what its SYN says.
type NAT struct {
	Inside   netip.AddrPort `json:"inside"`  // nearer to the end whose address it is
	Outside  netip.AddrPort `json:"outside"` // nearer to the peer
	Side     Side           `json:"side"`    // whose segments are rewritten
	Between  [2]int         `json:"between"` // vantages, the one nearer to the side first
	Rewrites []Rewrite      `json:"rewrites"`
}

// Rewrite is a field that a box on the path changes.
type Rewrite uint8

// What is compared. The zero value is unknown.
const (
	RewriteUnknown Rewrite = iota
	RewriteAddress
	RewritePort
	RewriteISN         // as Cisco's ASA does by default
	RewriteMSS         // clamping, where it is lowered
	RewriteTimestamps  // stripped, or added
	RewriteSACK        // stripped, or added
	RewriteWindowScale // stripped, added, or another one
	RewriteOptions     // other options, or their order
	RewriteWindow
	RewriteTTL // raised, where every router lowers it
)

var rewriteNames = []string{"unknown", "address", "port", "isn", "mss", "timestamps", "sack", "window-scale", "options", "window", "ttl"}

// String is the name as the JSON documents have it.
func (r Rewrite) String() string { return nameOf(rewriteNames, r) }

// MarshalText writes what String returns.
func (r Rewrite) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (r *Rewrite) UnmarshalText(text []byte) error { return parseName(rewriteNames, r, text) }

// String is the names of what is rewritten, for people.
func (n NAT) String() string {
	var names []string
	for _, r := range n.Rewrites {
		names = append(names, r.String())
	}
	return strings.Join(names, ", ")
}

// Leak is a segment that left with an address that its sender does not have at
// that place: a NAT let it pass untranslated, and the peer cannot know whose it
// is.
type Leak struct {
	Side    Side           `json:"side"`
	Kind    Kind           `json:"kind"`
	From    netip.AddrPort `json:"from"`    // what it says
	Instead netip.AddrPort `json:"instead"` // what its sender is called there
	Vantage int            `json:"vantage"` // nearest to the sender
	File    int            `json:"file"`
	Packet  int            `json:"packet"` // the first of them
	Count   int            `json:"count"`
}

func (f *facts) leaks(path []Vantage) []Leak {
	list := []Leak{}
	for _, x := range f.segments {
		s, ok := x.leak()
		if !ok {
			continue
		}
		l := Leak{Side: x.side, Kind: x.Kind, From: s.From, Instead: path[s.vantage].A, Vantage: s.vantage, File: s.File, Packet: s.Packet, Count: 1}
		if x.side == SideB {
			l.Instead = path[s.vantage].B
		}
		i := slices.IndexFunc(list, func(o Leak) bool { return o.Side == l.Side && o.Kind == l.Kind && o.From == l.From })
		if i < 0 {
			list = append(list, l)
		} else {
			list[i].Count++
		}
	}
	return list
}

// leak is the sighting nearest to the sender at which a segment had the wrong
// source.
func (f flight) leak() (found sighting, ok bool) {
	for _, s := range f.sightings {
		if s.leaked && !s.Kind.IsICMP() && (!ok || (f.side == SideA) == (s.vantage < found.vantage)) {
			found, ok = s, true
		}
	}
	return found, ok
}

// translations compares what neighbouring vantage points show of each side,
// from the end outwards.
func (f *facts) translations() []translation {
	var list []translation
	last := len(f.streams) - 1
	for i := range last {
		list = append(list, f.between(SideA, i, i+1)...)
	}
	for i := range last {
		list = append(list, f.between(SideB, last-i, last-i-1)...)
	}
	return list
}

// translation is a NAT with the packets that show it.
type translation struct {
	NAT
	shown   sighting
	details []detail
}

type detail struct {
	text  string
	shown sighting
}

// between finds what changes from one place to the next on the way of a side's
// segments.
func (f *facts) between(side Side, inner, outer int) []translation {
	var list []translation
	for _, x := range f.segments {
		in, ok := x.at(inner)
		out, okOut := x.at(outer)
		if !ok || !okOut || in.leaked || out.leaked {
			continue
		}
		inside, outside := in.From, out.From
		if x.side != side {
			inside, outside = in.To, out.To
		}
		i := slices.IndexFunc(list, func(t translation) bool { return t.Inside == inside && t.Outside == outside })
		if i < 0 {
			i = len(list)
			list = append(list, newTranslation(side, inner, outer, inside, outside, out))
		}
		if x.side == side && !x.Kind.IsICMP() {
			list[i].compare(in, out)
		}
	}
	return slices.DeleteFunc(list, func(t translation) bool { return t.Rewrites == nil })
}

func (f flight) at(vantage int) (sighting, bool) {
	i := slices.IndexFunc(f.sightings, func(s sighting) bool { return s.vantage == vantage })
	if i < 0 {
		return sighting{}, false
	}
	return f.sightings[i], true
}

func newTranslation(side Side, inner, outer int, inside, outside netip.AddrPort, shown sighting) translation {
	t := translation{NAT: NAT{Inside: inside, Outside: outside, Side: side, Between: [2]int{inner, outer}}, shown: shown}
	if inside.Addr() != outside.Addr() {
		t.Rewrites = append(t.Rewrites, RewriteAddress)
	}
	if inside.Port() != outside.Port() {
		t.Rewrites = append(t.Rewrites, RewritePort)
	}
	return t
}

func (t *translation) changed(r Rewrite, shown sighting, format string, args ...any) {
	if !slices.Contains(t.Rewrites, r) {
		t.Rewrites = append(t.Rewrites, r)
		t.details = append(t.details, detail{fmt.Sprintf(format, args...), shown})
	}
}

// compare looks at the fields that no router has to touch.
func (t *translation) compare(in, out sighting) {
	if out.TTL > in.TTL {
		t.changed(RewriteTTL, out, "raises the TTL from %d to %d", in.TTL, out.TTL)
	}
	if !in.Kind.isSyn() {
		return
	}
	a, b := in.Options, out.Options
	if in.seen.Seq != out.seen.Seq {
		t.changed(RewriteISN, out, "replaces the initial sequence number %d by %d", in.seen.Seq, out.seen.Seq)
	}
	if in.Window != out.Window {
		t.changed(RewriteWindow, out, "changes the window from %d to %d", in.Window, out.Window)
	}
	if a.MSS != b.MSS {
		t.changed(RewriteMSS, out, "changes the MSS from %d to %d", a.MSS, b.MSS)
	}
	stamps := t.present("timestamp", RewriteTimestamps, a.HasTimestamps, b.HasTimestamps, out)
	sack := t.present("SACK", RewriteSACK, a.SACKPermitted, b.SACKPermitted, out)
	scale := t.present("window scale", RewriteWindowScale, a.HasWindowScale, b.HasWindowScale, out)
	if a.Layout != b.Layout && !stamps && !sack && !scale {
		t.changed(RewriteOptions, out, "changes the TCP options or their order")
	}
	if a.HasWindowScale && b.HasWindowScale && a.WindowScale != b.WindowScale {
		t.changed(RewriteWindowScale, out, "changes the window scale from %d to %d", a.WindowScale, b.WindowScale)
	}
}

// present reports whether an option is on one side of the box only.
func (t *translation) present(option string, r Rewrite, in, out bool, shown sighting) bool {
	switch {
	case in && !out:
		t.changed(r, shown, "removes the %s option", option)
	case out && !in:
		t.changed(r, shown, "adds the %s option", option)
	}
	return in != out
}
