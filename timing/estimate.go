package timing

import (
	"fmt"
	"slices"
	"time"
)

// Verdict is what became of a server.
type Verdict int

// The verdicts. A falseticker contradicts the majority (RFC 5905 section
// 11.2.1). A server that smears leap seconds, and one that does not, may be
// right and is still left out among servers that do otherwise.
const (
	VerdictUnknown Verdict = iota
	Truechimer
	Falseticker
	Unreachable
	KissOfDeath
	Unsynchronised
	Smeared
	Unsmeared
)

var verdictNames = []string{"unknown", "truechimer", "falseticker", "unreachable", "kiss-of-death", "unsynchronised", "smeared", "unsmeared"}

func (v Verdict) String() string {
	if v < 0 || int(v) >= len(verdictNames) {
		return fmt.Sprintf("verdict %d", int(v))
	}
	return verdictNames[v]
}

// MarshalText writes the verdict's word.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// MarshalJSON writes the verdict's word, and null for an unknown one.
func (v Verdict) MarshalJSON() ([]byte, error) {
	if v == VerdictUnknown {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%q", v.String()), nil
}

// UnmarshalText accepts the words that MarshalText writes.
func (v *Verdict) UnmarshalText(text []byte) error {
	i := slices.Index(verdictNames, string(text))
	if i < 0 {
		return fmt.Errorf("there is no verdict %q", text)
	}
	*v = Verdict(i)
	return nil
}

// Server is what was learnt from one server. What is nil is not known.
// Offset, Bound and Delay are about the server's own clock: between two
// machines that asked the same server, its error cancels.
type Server struct {
	Address      string         `json:"address"` // that answered, or else the name
	Name         string         `json:"name"`    // as the user wrote it
	Stratum      *int           `json:"stratum"`
	Offset       *time.Duration `json:"offset_ns"`        // θ, from the quickest request and the quickest reply
	Bound        *time.Duration `json:"bound_ns"`         // of Offset, against the server's clock
	Uncertainty  *time.Duration `json:"uncertainty_ns"`   // of Offset, against the server's clock, in 99 %
	Delay        *time.Duration `json:"delay_ns"`         // δ of the sample with the least bound
	RootDistance *time.Duration `json:"root_distance_ns"` // λ: Bound and the server's own error
	Age          *time.Duration `json:"age_ns"`           // of that sample, longer if it comes from a Cache
	Samples      int            `json:"samples"`          // that were valid
	Verdict      Verdict        `json:"verdict"`
	Error        *string        `json:"error"` // why it did not answer, or not to the end
}

// Estimate is the offset of the reference from the local timescale: the
// weighted mean of the truechimers. Offset is reference minus local; the truth lies within ±Bound for certain, if the
// majority of the servers tell it, and within ±Uncertainty in 99 %.
type Estimate struct {
	Offset       time.Duration  `json:"offset_ns"`
	Bound        time.Duration  `json:"bound_ns"`       // at At: where a majority of the servers' intervals of ± λ overlap
	Uncertainty  time.Duration  `json:"uncertainty_ns"` // at At
	Delay        time.Duration  `json:"delay_ns"`       // δ of the nearest truechimer's best sample
	Jitter       *time.Duration `json:"jitter_ns"`      // ψ of RFC 5905 section 10, of the same server; nil with one sample
	FrequencyPPM *float64       `json:"frequency_ppm"`  // reference against local; nil when not known better than PHI
	Stepped      bool           `json:"stepped"`        // the wall clock was set since the Clock began
	Servers      []Server       `json:"servers"`
	At           Instant        `json:"-"` // when Bound and Uncertainty held; they grow by PHI afterwards
}

// Instant is when the reference time is, was or will be reference.
func (e Estimate) Instant(clock *Clock, reference time.Time) Instant {
	return clock.Instant(reference.Add(-e.Offset))
}

// Reference is the reference time at an instant.
func (e Estimate) Reference(clock *Clock, i Instant) time.Time {
	return clock.At(i).Add(e.Offset)
}

// BoundAt is Bound at another instant: the clocks drift apart by at most PHI.
func (e Estimate) BoundAt(now Instant) time.Duration {
	return e.Bound + drifted(now.Sub(e.At).Abs())
}
