package lab

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"
)

// BenchConfig says what to measure. All fields are required but Busy.
type BenchConfig struct {
	Launches int           // of each variant in each condition
	Spacing  time.Duration // between launches
	Busy     int           // processes that keep processors busy in the second condition; 0: there is none
}

// BenchVariants are the ways of launching that are compared, launched in turn:
// Go's timer, the sleeping and spinning launch without privilege, with the
// priority of an ordinary thread raised, and in real time.
var BenchVariants = []string{"timer", "spin", "nice", "real-time"}

// BenchNode is one of the two launchers: its own process in its own namespace,
// joined to the other's by a cable. Both launch at the same instants.
type BenchNode struct {
	Local, Remote netip.Addr
	Begin         int64 // CLOCK_MONOTONIC in nanoseconds of the first launch
	Spacing       time.Duration
	Launches      int // of all variants in turn
}

// Instant is when launch i is due, on CLOCK_MONOTONIC in nanoseconds.
func (n BenchNode) Instant(i int) int64 { return n.Begin + int64(i)*int64(n.Spacing) }

// Port is the local port of launch i on both sides.
func (n BenchNode) Port(i int) uint16 { return uint16(20000 + i%20000) }

// BenchShot is what a node measured of one launch.
type BenchShot struct {
	Variant    string          `json:"variant"`
	Late       *int64          `json:"late_ns"` // the SYN at the tap minus the instant, less than 0 if it was early; nil if there was none
	Privileges json.RawMessage `json:"privileges"`
}

// BenchDocument is what `lab bench launch` prints.
type BenchDocument struct {
	Benchmark  string           `json:"benchmark"`
	Machine    BenchMachine     `json:"machine"`
	Launches   int              `json:"launches"`
	Spacing    int64            `json:"spacing_ns"`
	Conditions []BenchCondition `json:"conditions"`
}

// BenchMachine is where it was measured.
type BenchMachine struct {
	Kernel     string `json:"kernel"`
	Processors int    `json:"processors"` // that this process may use
	LoadBefore string `json:"load_before"`
	LoadAfter  string `json:"load_after"`
}

// BenchCondition is a measurement beside so many busy processes.
type BenchCondition struct {
	Busy     int           `json:"busy"`
	Variants []BenchResult `json:"variants"`
}

// BenchResult are the percentiles of one variant.
type BenchResult struct {
	Variant    string          `json:"variant"`
	Privileges json.RawMessage `json:"privileges"`  // that it reached; null for the timer, which wants none
	Missed     int             `json:"missed"`      // launches of either side without a SYN
	Lateness   Percentiles     `json:"lateness_ns"` // without its sign
	Skew       Percentiles     `json:"skew_ns"`     // between the two SYNs of a launch, without its sign
	Ratio      *float64        `json:"timer_p99_ratio"`
}

// Percentiles of a measured quantity, nil where nothing was measured.
type Percentiles struct {
	P50 *int64 `json:"p50"`
	P90 *int64 `json:"p90"`
	P99 *int64 `json:"p99"`
	Max *int64 `json:"max"`
}

// percentiles takes each by the nearest rank.
func percentiles(values []int64) Percentiles {
	if len(values) == 0 {
		return Percentiles{}
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(q float64) *int64 {
		return &sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
	}
	return Percentiles{P50: at(.50), P90: at(.90), P99: at(.99), Max: at(1)}
}

// benchRounds is how many pieces a measurement is cut into, so that conditions
// alternate and a disturbance from outside meets all of them; a piece has at
// least so many launches of a variant.
const (
	benchRounds = 5
	benchPiece  = 20
)

// rounds cuts the launches of a variant into pieces of nearly the same size.
func (c BenchConfig) rounds() []int {
	n := min(benchRounds, max(c.Launches/benchPiece, 1))
	list := make([]int, n)
	for i := range list {
		list[i] = (i+1)*c.Launches/n - i*c.Launches/n
	}
	return list
}

// benchTally gathers the shots of one condition.
type benchTally struct {
	late, skew map[string][]int64
	missed     map[string]int
	privileges map[string]json.RawMessage
}

func newBenchTally() *benchTally {
	return &benchTally{late: map[string][]int64{}, skew: map[string][]int64{}, missed: map[string]int{}, privileges: map[string]json.RawMessage{}}
}

// add takes the shots of both nodes, which belong together by their order.
func (t *benchTally) add(a, b []BenchShot) error {
	if len(a) != len(b) {
		return fmt.Errorf("one side launched %d times and the other %d", len(a), len(b))
	}
	for i := range a {
		for _, s := range []BenchShot{a[i], b[i]} {
			if s.Late == nil {
				t.missed[s.Variant]++
				continue
			}
			t.late[s.Variant] = append(t.late[s.Variant], max(*s.Late, -*s.Late))
			t.privileges[s.Variant] = s.Privileges
		}
		if a[i].Late != nil && b[i].Late != nil {
			d := *a[i].Late - *b[i].Late
			t.skew[a[i].Variant] = append(t.skew[a[i].Variant], max(d, -d))
		}
	}
	return nil
}

func (t *benchTally) condition(busy int) BenchCondition {
	c := BenchCondition{Busy: busy}
	timer := percentiles(t.late[BenchVariants[0]])
	for _, v := range BenchVariants {
		r := BenchResult{Variant: v, Privileges: t.privileges[v], Missed: t.missed[v],
			Lateness: percentiles(t.late[v]), Skew: percentiles(t.skew[v])}
		if timer.P99 != nil && r.Lateness.P99 != nil && *r.Lateness.P99 > 0 {
			ratio := float64(*timer.P99) / float64(*r.Lateness.P99)
			r.Ratio = &ratio
		}
		c.Variants = append(c.Variants, r)
	}
	return c
}

// BurstVariants are the ways of sending many SYNs that are compared: the same
// sockets made at the instant and before it; the least that a program can do at
// the instant, which is socket, bind and connect; and crafted SYNs.
var BurstVariants = []string{"unprepared", "bare", "prepared", "sendmmsg"}

// BurstConfig says how many SYNs to send, and how often. All is required.
type BurstConfig struct {
	SYNs   int `json:"syns"`
	Rounds int `json:"rounds"`
}

// BurstDocument is what `lab bench burst` prints.
type BurstDocument struct {
	Benchmark string       `json:"benchmark"`
	Machine   BenchMachine `json:"machine"`
	BurstConfig
	BurstTimes
	// The quotients of the medians.
	UnpreparedToPrepared float64 `json:"unprepared_to_prepared"`
	BareToPrepared       float64 `json:"bare_to_prepared"`
	PreparedToSendmmsg   float64 `json:"prepared_to_sendmmsg"`
}

// BurstTimes is how long each burst took, by variant, in the order of the
// rounds, and the median of each. Privileges are those of the prepared one.
type BurstTimes struct {
	Elapsed    map[string][]int64 `json:"elapsed_ns"`
	Median     map[string]int64   `json:"median_ns"`
	Privileges json.RawMessage    `json:"privileges"`
}

// conclude computes what follows from the measured times.
func (d *BurstDocument) conclude() {
	d.Median = map[string]int64{}
	for v, list := range d.Elapsed {
		d.Median[v] = *percentiles(list).P50
	}
	prepared := float64(d.Median["prepared"])
	d.UnpreparedToPrepared = float64(d.Median["unprepared"]) / prepared
	d.BareToPrepared = float64(d.Median["bare"]) / prepared
	d.PreparedToSendmmsg = prepared / float64(d.Median["sendmmsg"])
}
