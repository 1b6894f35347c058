package captures

import (
	"slices"
	"strings"
	"time"
)

// Cadence is the rhythm of one side's SYNs, at the place nearest to it that
// saw them.
type Cadence struct {
	Side   Side            `json:"side"`
	Kind   string          `json:"kind"`    // "kernel": one SYN, sent again by the system; "connect-loop": a program tries anew; "both"
	Gaps   []time.Duration `json:"gaps_ns"` // between SYNs, those aside that the clock does not tell
	Stacks []string        `json:"stacks"`  // systems that this rhythm and these options fit; empty: none known
	File   int             `json:"file"`
	Packet int             `json:"packet"` // the second SYN
}

// schedule is how long systems wait before each repetition of a SYN, in
// seconds.
type schedule struct {
	stack string
	gaps  []int
}

// Sources: Linux, net.ipv4.tcp_syn_linear_timeouts = 4 since 6.5
// (Documentation/networking/ip-sysctl.rst), and RFC 6298's initial time-out of
// 1 s doubling before; 4.4BSD's tcp_syn_backoff {1, 1, 1, 1, 1, 2, 4, 8, …}
// (netinet/tcp_timer.c), times 3 s in FreeBSD up to 12 and 1 s in macOS (XNU)
// and FreeBSD since; Windows, TcpInitialRtt 3 s doubling, and 1 s in later
// versions (Get-NetTCPSetting, InitialRto).
var schedules = []schedule{
	{"linux>=6.5", []int{1, 1, 1, 1, 1, 2, 4, 8, 16, 32}},
	{"macos", []int{1, 1, 1, 1, 1, 2, 4, 8, 16, 32}},
	{"freebsd>=13", []int{1, 1, 1, 1, 1, 2, 4, 8, 16, 32}},
	{"linux<6.5", []int{1, 2, 4, 8, 16, 32}},
	{"windows>=11", []int{1, 2, 4, 8}},
	{"windows<11", []int{3, 6, 12}},
	{"freebsd<13", []int{3, 3, 3, 3, 3, 6, 12, 24}},
}

// layouts are the options of a system's SYN in their order, after the
// signatures of p0f 3 (p0f.fp). A system that is not named has no entry.
var layouts = map[string][]uint64{
	"linux":   {optionLayout(2, 4, 8, 1, 3)},
	"macos":   {optionLayout(2, 1, 3, 1, 1, 8, 4, 0), optionLayout(2, 1, 3, 1, 1, 8, 4)},
	"freebsd": {optionLayout(2, 1, 3, 4, 8), optionLayout(2, 1, 3, 1, 1, 8, 4)},
	"windows": {optionLayout(2, 1, 3, 1, 1, 4), optionLayout(2, 1, 3, 4, 8), optionLayout(2, 1, 1, 4)},
}

func optionLayout(kinds ...uint64) (layout uint64) {
	for i, k := range kinds {
		layout |= k << (4 * i)
	}
	return layout
}

func (f *facts) cadences() []Cadence {
	list := []Cadence{}
	for _, side := range []Side{SideA, SideB} {
		var syns []Segment
		for _, x := range f.segments {
			if x.Kind == KindSyn && x.side == side {
				syns = append(syns, x.Segment)
			}
		}
		if len(syns) > 1 {
			list = append(list, newCadence(side, syns))
		}
	}
	return list
}

func newCadence(side Side, syns []Segment) Cadence {
	c := Cadence{Side: side, Kind: "kernel", Gaps: []time.Duration{}, Stacks: []string{}, File: syns[1].File, Packet: syns[1].Packet}
	var longest, run []time.Duration
	again, anew := false, false
	for i, s := range syns[1:] {
		gap := s.Time.Sub(syns[i].Time)
		told := gap >= 0 && !s.Time.IsZero() && !syns[i].Time.IsZero() // else the clock was set back, or there is none
		if told {
			c.Gaps = append(c.Gaps, gap)
		}
		if s.Seq != syns[i].Seq {
			anew, run = true, nil
			continue
		}
		if again = true; !told {
			run = nil
			continue
		}
		run = append(run, gap)
		if len(run) > len(longest) {
			longest = slices.Clone(run)
		}
	}
	switch {
	case anew && again:
		c.Kind = "both"
	case anew:
		c.Kind = "connect-loop"
	}
	for _, s := range schedules {
		if len(longest) > 0 && s.fits(longest) && s.fitsOptions(syns[0]) {
			c.Stacks = append(c.Stacks, s.stack)
		}
	}
	return c
}

// fits allows an eighth more or less: timers are coarse, and Linux adds up to
// 3 % on purpose.
func (s schedule) fits(gaps []time.Duration) bool {
	if len(gaps) > len(s.gaps) {
		return false
	}
	for i, g := range gaps {
		want := time.Duration(s.gaps[i]) * time.Second
		if (g - want).Abs() > want/8 {
			return false
		}
	}
	return true
}

// fitsOptions excludes a system whose SYNs have other options, or begin with
// another TTL: 128 is Windows alone.
func (s schedule) fitsOptions(syn Segment) bool {
	system := strings.TrimRight(strings.Split(strings.Split(s.stack, ">")[0], "<")[0], "=")
	if (system == "windows") != (initialTTL(syn.TTL) == 128) {
		return false
	}
	if syn.Options.Layout == 0 {
		return true
	}
	return slices.Contains(layouts[system], syn.Options.Layout)
}
