package lab

import (
	"encoding/json"
	"math"
	"slices"
	"time"
)

// Document is what `lab run` prints: what was asked for, every trial, and
// their summary.
type Document struct {
	A         string  `json:"a"`
	B         string  `json:"b"`
	Transport string  `json:"transport"`
	Delay     int64   `json:"delay_ns"`
	SkewA     int64   `json:"skew_a_ns"`
	SkewB     int64   `json:"skew_b_ns"`
	Guard     int64   `json:"guard_ns"` // lateness of the core beyond which a trial does not count; 0 without a core
	Trials    []Trial `json:"trials"`
	Summary   Summary `json:"summary"`
}

// Trial is one meeting. What was not measured is nil.
type Trial struct {
	Valid         bool    `json:"valid"`
	InvalidReason *string `json:"invalid_reason"`
	Established   bool    `json:"established"`   // both sides say so
	Cause         *string `json:"cause"`         // what the tool says
	TrueCause     *string `json:"true_cause"`    // what the lab knows
	TrueCauseOf   *string `json:"true_cause_of"` // whose box or host it was: a, b, or "" for nobody's
	Verdict       *string `json:"verdict"`
	Crossing      *bool   `json:"crossing"`

	CapturedVerdict *string `json:"captured_verdict"` // by the packets that both clients captured, and nothing else
	TrueVerdict     *string `json:"true_verdict"`     // of the same opening, by what passed between the sites

	Skew               *int64   `json:"skew_ns"` // B's first SYN minus A's, on this machine's clock
	LaunchErrorA       *int64   `json:"launch_error_a_ns"`
	LaunchErrorB       *int64   `json:"launch_error_b_ns"`
	SYNsA              *int64   `json:"syns_on_wire_a"`
	SYNsB              *int64   `json:"syns_on_wire_b"`
	EstablishedAfter   *int64   `json:"established_after_ns"`   // the later side
	AuthenticatedAfter *int64   `json:"authenticated_after_ns"` // the later side
	Predicted          *float64 `json:"predicted_probability"`

	UnsolicitedA *int64    `json:"unsolicited_a"` // TCP packets that A's box got unasked for
	UnsolicitedB *int64    `json:"unsolicited_b"`
	CoreLateness *int64    `json:"core_lateness_ns"` // how late the core forwarded at worst
	Mappings     []Mapping `json:"mappings"`
	Duration     int64     `json:"duration_ns"`

	MeetA json.RawMessage `json:"meet_a"` // what `tcppunch meet` printed on each side
	MeetB json.RawMessage `json:"meet_b"`
}

// Summary counts the valid trials.
type Summary struct {
	Trials             int        `json:"trials"` // run, invalid ones included
	Valid              int        `json:"valid"`
	Established        int        `json:"established"`
	Success            *float64   `json:"success"` // share of the valid trials
	CI95               [2]float64 `json:"ci95"`    // Wilson's interval of it
	Diagnosed          int        `json:"diagnosed"`
	DiagnosisCorrect   *float64   `json:"diagnosis_correct"` // share of the failures whose true cause is known
	EstablishedAfter   Quantiles  `json:"established_after_ns"`
	AuthenticatedAfter Quantiles  `json:"authenticated_after_ns"`
	AbsSkew            Quantiles  `json:"abs_skew_ns"`

	Verdicts map[string]int `json:"verdicts"`
	Causes   map[string]int `json:"causes"`

	Judged           int      `json:"judged"`            // trials of which both verdicts are known, the captures' and the true one
	JudgementCorrect *float64 `json:"judgement_correct"` // share of them in which they are the same

	Judgements map[string]map[string]int `json:"judgements"` // true verdict → the captures' verdict → trials

	Confusion map[string]map[string]int `json:"confusion"` // true cause → the tool's cause → trials
}

// Quantiles of a measured quantity, nil where nothing was measured.
type Quantiles struct {
	P50 *int64 `json:"p50"`
	P95 *int64 `json:"p95"`
	P99 *int64 `json:"p99"`
	Max *int64 `json:"max"`
}

// quantiles takes each by the nearest rank.
func quantiles(values []int64) Quantiles {
	if len(values) == 0 {
		return Quantiles{}
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(q float64) *int64 {
		return &sorted[max(int(math.Ceil(q*float64(len(sorted))))-1, 0)]
	}
	return Quantiles{P50: at(.50), P95: at(.95), P99: at(.99), Max: at(1)}
}

// Normal quantiles of 0.975 and 0.995.
const z95, z99 = 1.959964, 2.575829

// wilson is the 95 % score interval of k successes in n (Wilson 1927).
func wilson(k, n int) [2]float64 { return wilsonAt(float64(k), float64(n), z95) }

func wilsonAt(k, n, z float64) [2]float64 {
	if n == 0 {
		return [2]float64{0, 1}
	}
	p := k / n
	center := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	interval := [2]float64{max(center-half, 0), min(center+half, 1)}
	if k == n { // exactly 1, but for rounding
		interval[1] = 1
	}
	if k == 0 {
		interval[0] = 0
	}
	return interval
}

// Summarize counts trials.
func Summarize(trials []Trial) Summary {
	s := Summary{Trials: len(trials), Verdicts: map[string]int{}, Causes: map[string]int{},
		Judgements: map[string]map[string]int{}, Confusion: map[string]map[string]int{}}
	var established, authenticated, skews []int64
	correct := 0
	for _, t := range trials {
		if !t.Valid {
			continue
		}
		s.Valid++
		count(s.Verdicts, t.Verdict)
		count(s.Causes, t.Cause)
		if t.TrueVerdict != nil && t.CapturedVerdict != nil {
			addTo(s.Judgements, *t.TrueVerdict, *t.CapturedVerdict, 1)
		}
		skews = appendKnown(skews, absolute(t.Skew))
		if t.Established {
			s.Established++
			established = appendKnown(established, t.EstablishedAfter)
			authenticated = appendKnown(authenticated, t.AuthenticatedAfter)
		} else if t.TrueCause != nil {
			s.Diagnosed++
			said := "none"
			if t.Cause != nil {
				said = *t.Cause
			}
			addTo(s.Confusion, *t.TrueCause, said, 1)
			if *t.TrueCause == said {
				correct++
			}
		}
	}
	s.Success, s.DiagnosisCorrect = share(s.Established, s.Valid), share(correct, s.Diagnosed)
	s.CI95 = wilson(s.Established, s.Valid)
	s.Judged, s.JudgementCorrect = agreement(s.Judgements)
	s.EstablishedAfter, s.AuthenticatedAfter, s.AbsSkew = quantiles(established), quantiles(authenticated), quantiles(skews)
	return s
}

// agreement counts a confusion, and tells the share of what was named as it is.
func agreement(confusion map[string]map[string]int) (all int, correct *float64) {
	right := 0
	for truth, said := range confusion {
		for word, n := range said {
			all += n
			if word == truth {
				right += n
			}
		}
	}
	return all, share(right, all)
}

func count(m map[string]int, word *string) {
	if word != nil {
		m[*word]++
	}
}

func appendKnown(list []int64, v *int64) []int64 {
	if v == nil {
		return list
	}
	return append(list, *v)
}

func absolute(v *int64) *int64 {
	if v == nil || *v >= 0 {
		return v
	}
	n := -*v
	return &n
}

func share(k, n int) *float64 {
	if n == 0 {
		return nil
	}
	f := float64(k) / float64(n)
	return &f
}

// meetDocument is what the lab reads of `tcppunch meet --json`.
type meetDocument struct {
	Established        bool        `json:"established"`
	Cause              *string     `json:"cause"`
	Verdict            *string     `json:"verdict"`
	Crossing           *bool       `json:"crossing"`
	Local              *string     `json:"local"`
	Remote             *string     `json:"remote"`
	Reflexive          *string     `json:"reflexive"`
	At                 *time.Time  `json:"at"`
	LaunchError        *int64      `json:"launch_error_ns"`
	Skew               *int64      `json:"skew_ns"`
	SkewBound          *int64      `json:"skew_bound_ns"`
	EstablishedAfter   *int64      `json:"established_after_ns"`
	AuthenticatedAfter *int64      `json:"authenticated_after_ns"`
	SYNs               *int64      `json:"syns_on_wire"`
	Predicted          *float64    `json:"predicted_probability"`
	Clock              *clockState `json:"clock"`
	Error              *meetError  `json:"error"`
}

// clockState is the part of a sync document that the lab compares with the
// truth. Offset is reference minus local.
type clockState struct {
	Offset      int64 `json:"offset_ns"`
	Bound       int64 `json:"bound_ns"`
	Uncertainty int64 `json:"uncertainty_ns"`
}

type meetError struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// cause is why a side says it failed, from its report or from its error.
func (m meetDocument) cause() *string {
	if m.Cause == nil && m.Error != nil {
		return &m.Error.Kind
	}
	return m.Cause
}

// mergeMeets makes one outcome of what the two sides say. Where they differ,
// the failure counts, and of two numbers the larger.
func mergeMeets(a, b meetDocument) Trial {
	t := Trial{
		Established: a.Established && b.Established,
		Verdict:     worse(a.Verdict, b.Verdict), Crossing: both(a.Crossing, b.Crossing),
		LaunchErrorA: a.LaunchError, LaunchErrorB: b.LaunchError, SYNsA: a.SYNs, SYNsB: b.SYNs,
		EstablishedAfter: later(a.EstablishedAfter, b.EstablishedAfter), AuthenticatedAfter: later(a.AuthenticatedAfter, b.AuthenticatedAfter),
		Predicted: a.Predicted,
	}
	if !t.Established {
		t.Cause = commonCause(a.cause(), b.cause())
	}
	return t
}

// worse is a verdict on which both agree, or else the one that claims less
// than a simultaneous open.
func worse(a, b *string) *string {
	if a == nil || b != nil && *a == "simultaneous-open" {
		return b
	}
	return a
}

// both is true only where both know it.
func both(a, b *bool) *bool {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	v := *a && *b
	return &v
}

func later(a, b *int64) *int64 {
	if a == nil || b == nil {
		return nil
	}
	return new(max(*a, *b))
}

// vague are causes that the other side may know better, the vaguest last.
var vague = []string{"nat-reset", "budget-spent", "nat-filtered", "peer-absent"}

// commonCause prefers what names a reason to what only says that nothing came.
func commonCause(a, b *string) *string {
	if a == nil || b != nil && slices.Index(vague, *b) < slices.Index(vague, *a) {
		return b
	}
	return a
}
