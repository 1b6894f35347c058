package lab

// SameHostConfig says how often two peers on one host meet; all is required.
type SameHostConfig struct {
	Meetings int `json:"meetings"`
}

// SameHostDocument is what `lab bench same-host` prints.
type SameHostDocument struct {
	Benchmark string       `json:"benchmark"`
	Machine   BenchMachine `json:"machine"`
	SameHostConfig
	Connected int            `json:"connected"`
	Causes    map[string]int `json:"causes"`              // of those that did not connect
	SYNs      Percentiles    `json:"syns_on_wire"`        // of both sides together
	AfterLast Percentiles    `json:"established_last_ns"` // from the later launch until the later side's TCP stood
	Skew      Percentiles    `json:"launches_apart_ns"`   // without its sign, as the two processes took the time
}

// sameHostTally gathers meetings.
type sameHostTally struct {
	connected           int
	causes              map[string]int
	syns, after, spread []int64
}

// add takes what both sides of a meeting printed.
func (t *sameHostTally) add(a, b meetDocument) {
	r := mergeMeets(a, b)
	if !r.Established {
		cause := "unknown"
		if r.Cause != nil {
			cause = *r.Cause
		}
		t.causes[cause]++
		return
	}
	t.connected++
	if a.SYNs != nil && b.SYNs != nil {
		t.syns = append(t.syns, *a.SYNs+*b.SYNs)
	}
	if a.LaunchError != nil && b.LaunchError != nil && r.EstablishedAfter != nil {
		t.after = append(t.after, *r.EstablishedAfter-max(*a.LaunchError, *b.LaunchError))
		d := *a.LaunchError - *b.LaunchError
		t.spread = append(t.spread, max(d, -d))
	}
}

func (t *sameHostTally) conclude(d *SameHostDocument) {
	d.Connected, d.Causes = t.connected, t.causes
	d.SYNs, d.AfterLast, d.Skew = percentiles(t.syns), percentiles(t.after), percentiles(t.spread)
}
