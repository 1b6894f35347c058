package lab

import (
	"net/netip"
	"slices"
	"time"
)

// Change is what happened to a connection in a box's table.
type Change string

// The kinds of conntrack events, and what an emulated box tells beside them.
const (
	Created   Change = "new"
	Updated   Change = "update"
	Destroyed Change = "destroy"
	Decided   Change = "decision" // an emulated box decided about a packet
)

// Mapping is one event of a box's connection table: ground truth, told by who
// translates.
type Mapping struct {
	At       time.Time      `json:"at"`
	Box      string         `json:"box"`
	Change   Change         `json:"change"`
	Protocol string         `json:"proto"`
	Inbound  bool           `json:"inbound"` // opened from outside, towards the box itself
	Inside   netip.AddrPort `json:"inside"`
	Outside  netip.AddrPort `json:"outside"`
	Peer     netip.AddrPort `json:"peer"`
	State    string         `json:"state"`    // conntrack's name of the TCP state; "" where it says none
	Decision string         `json:"decision"` // of an emulated box, in predict/nat's words; "" of the kernel's
	Reason   string         `json:"reason"`   // why an emulated box decided so, where it says
}

// mappingBetween finds the last state of a box's connection with a peer
// address, other than the server ports in skip.
func mappingsTowards(events []Mapping, box string, peer netip.Addr) []Mapping {
	latest := map[[2]netip.AddrPort]int{}
	var list []Mapping
	for _, m := range events {
		if m.Box != box || m.Protocol != "tcp" || m.Peer.Addr() != peer {
			continue
		}
		key := [2]netip.AddrPort{m.Inside, m.Peer}
		if i, ok := latest[key]; ok {
			if m.State != "" {
				list[i].State = m.State
			}
			continue
		}
		latest[key] = len(list)
		list = append(list, m)
	}
	return list
}

func sortByTime(list []Mapping) {
	slices.SortStableFunc(list, func(a, b Mapping) int { return a.At.Compare(b.At) })
}

// since leaves away what is told about connections that a box had before an
// instant: that they ended.
func since(events []Mapping, begin time.Time) []Mapping {
	type connection struct {
		box          string
		inside, peer netip.AddrPort
	}
	known := map[connection]bool{}
	var list []Mapping
	for _, m := range events {
		key := connection{m.Box, m.Inside, m.Peer}
		known[key] = known[key] || m.Change == Created && !m.At.Before(begin)
		if known[key] || begin.IsZero() {
			list = append(list, m)
		}
	}
	return list
}
