package lab

import (
	"net/netip"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

// exchange writes down sightings: who sends from which port to which, what, and
// when in milliseconds.
type sent struct {
	from     byte
	own, aim uint16
	kind     string
	at       int
}

func (x sent) sighting() sighting {
	a, b := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("203.0.113.1")
	if x.from == 'b' {
		a, b = b, a
	}
	h := header{source: netip.AddrPortFrom(a, x.own), destination: netip.AddrPortFrom(b, x.aim)}
	switch x.kind {
	case "syn":
		h.syn = true
	case "syn-ack":
		h.syn, h.ack = true, true
	case "rst":
		h.rst = true
	case "icmp":
		h.unreachable = true
	}
	return sighting{from: x.from, sent: time.Unix(0, 0).Add(time.Duration(x.at) * time.Millisecond), header: h}
}

func TestTrueCauseFollowsFromWhatTheLabSaw(t *testing.T) {
	decided := func(box string, kind nat.Kind) Mapping {
		return Mapping{Box: box, Change: Decided, Decision: kind.String(), Protocol: "tcp"}
	}
	towards := func(peer string, m Mapping) Mapping {
		m.Peer = netip.MustParseAddrPort(peer)
		return m
	}
	mapped := func(inside, outside string) Mapping {
		return Mapping{Box: "nat-a", Change: Created, Protocol: "tcp", Inside: netip.MustParseAddrPort(inside), Outside: netip.MustParseAddrPort(outside)}
	}
	a, b := sent{'a', 1, 2, "syn", 0}, sent{'b', 2, 1, "syn", 0}
	late := sent{'b', 2, 1, "syn", 200}
	linux, six, same := profile(t, "linux"), profile(t, "firewall6"), profile(t, "same-nat")
	usual := Config{A: linux, B: linux, Delay: 20 * time.Millisecond}
	for _, c := range []struct {
		name     string
		config   Config
		sent     []sent
		mappings []Mapping
		want     trueCause
		known    bool
	}{
		{"no family", Config{A: linux, B: six}, nil, nil, trueCause{"infeasible", ""}, true},
		{"one box", Config{A: same, B: linux}, nil, nil, trueCause{"no-hairpin", "a"}, true},
		{"silence, and mappings that move", usual, nil, []Mapping{mapped("10.0.0.1:1", "1.1.1.1:1"), mapped("10.0.0.1:1", "1.1.1.1:2")}, trueCause{"infeasible", ""}, true},
		{"silence, and mappings that stay", usual, nil, []Mapping{mapped("10.0.0.1:1", "1.1.1.1:1"), mapped("10.0.0.1:1", "1.1.1.1:1")}, trueCause{}, false},
		{"silence, and a quota", usual, nil, []Mapping{decided("nat-b", nat.QuotaExceeded)}, trueCause{"mapping-exhausted", "b"}, true},
		{"one side only", usual, []sent{a}, nil, trueCause{}, false},
		{"A guessed B's port wrong", usual, []sent{a, {'b', 3, 1, "syn", 0}}, nil, trueCause{"port-mispredicted", "b"}, true},
		{"both guessed wrong", usual, []sent{a, {'b', 3, 4, "syn", 0}}, nil, trueCause{"port-mispredicted", ""}, true},
		{"a guess comes true a round too late", usual, []sent{a, {'b', 3, 1, "syn", 0}, {'a', 1, 2, "rst", 20}, {'a', 1, 3, "syn", 750}}, nil, trueCause{"port-mispredicted", "b"}, true},
		{"a refused crossing", usual, []sent{a, b}, []Mapping{decided("nat-b-2", nat.CrossingDropped)}, trueCause{"simultaneous-open-blocked", "b"}, true},
		{"a crossing that the coordinator tried", usual, []sent{a, b}, []Mapping{towards("192.0.2.10:4000", decided("nat-b", nat.CrossingDropped)), decided("nat-a", nat.Filtered)}, trueCause{"nat-filtered", "a"}, true},
		{"a reset", usual, []sent{a, {'b', 2, 1, "rst", 20}, b}, nil, trueCause{"nat-reset", "b"}, true},
		{"a reset after an answer", usual, []sent{a, b, {'a', 1, 2, "syn-ack", 20}, {'b', 2, 1, "rst", 40}}, nil, trueCause{}, false},
		{"a side that had given up", usual, []sent{a, b, {'b', 2, 1, "rst", 400}}, nil, trueCause{}, false},
		{"a reset by bad clocks", Config{A: linux, B: linux, Delay: 20 * time.Millisecond, NoSync: true}, []sent{a, {'b', 2, 1, "rst", 20}, late}, nil, trueCause{"clock-too-poor", "b"}, true},
		{"a reset by lateness", Config{A: linux, B: linux, Delay: 20 * time.Millisecond, LateB: 200 * time.Millisecond}, []sent{a, {'b', 2, 1, "rst", 20}, late}, nil, trueCause{"launched-late", "b"}, true},
		{"an ICMP error", usual, []sent{a, b, {'a', 0, 0, "icmp", 20}}, nil, trueCause{"nat-icmp", "a"}, true},
		{"sequence numbers", usual, []sent{a, b}, []Mapping{decided("nat-a", nat.SequenceDropped)}, trueCause{"sequence-checked", "a"}, true},
		{"a rate", usual, []sent{a, b}, []Mapping{decided("nat-a", nat.RateLimited)}, trueCause{"rate-limited", "a"}, true},
		{"silence", usual, []sent{a, b}, []Mapping{decided("nat-a", nat.Filtered)}, trueCause{"nat-filtered", "a"}, true},
		{"a handshake", usual, []sent{a, b, {'a', 1, 2, "syn-ack", 20}, {'b', 2, 1, "syn-ack", 20}}, nil, trueCause{}, false},
	} {
		x := truth{outside: true, mappings: c.mappings}
		for _, s := range c.sent {
			x.sightings = append(x.sightings, s.sighting())
		}
		if got, known := x.cause(c.config); got != c.want || known != c.known {
			t.Errorf("%s: got %+v, %v, want %+v, %v", c.name, got, known, c.want, c.known)
		}
	}
}
