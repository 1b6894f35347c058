package predict

import (
	"errors"
	"slices"

	"tcppunch/predict/nat"
)

// Ports is how a NAT assigns the ports of new mappings, as far as observations
// tell. It is small, because it travels in offers.
type Ports struct {
	Model      nat.PortAssignment `json:"model"`      // the likeliest, if it is likely; else unknown
	Parameters Parameters         `json:"parameters"` // of the first of Posterior
	Posterior  []Model            `json:"posterior"`  // what is worth planning for, the likeliest first
	Seen       []uint16           `json:"seen"`       // ports of the latest mappings, in the order in which they were made
	Next       []PortProbability  `json:"next,omitempty"`
}

// PortProbability is a port and how likely the next mapping gets it.
type PortProbability struct {
	Port        uint16  `json:"port"`
	Probability float64 `json:"probability"`
}

// Model is one way of assigning ports and how probable it is. An allocator
// that nobody can predict, such as a keyed hash of the endpoints, is Random:
// to an observer it is the same.
type Model struct {
	Model       nat.PortAssignment `json:"model"`
	Probability float64            `json:"probability"`
	Parameters  Parameters         `json:"parameters,omitzero"` // absent: those of Ports
}

// parameters are those of a model of the posterior.
func (p Ports) parameters(m Model) Parameters {
	if m.Parameters.absent() {
		return p.Parameters
	}
	return m.Parameters
}

func (p Parameters) absent() bool { return p.Delta == 0 && p.Low == 0 }

// IsZero leaves absent parameters out of JSON.
func (p Parameters) IsZero() bool { return p.absent() }

// Parameters of a model. Which have a meaning depends on the model; the others
// are zero and absent from JSON.
type Parameters struct {
	Delta   int       `json:"delta,omitzero"`    // Sequential, Lowest: the step from one port to the next
	Traffic []Traffic `json:"traffic,omitempty"` // Sequential, Lowest: foreign mappings in between
	Low     uint16    `json:"low,omitzero"`      // Random, Band, Block, Parity: estimate of the lowest port
	High    uint16    `json:"high,omitzero"`     // and of the highest
	Widths  []Width   `json:"widths,omitempty"`  // of how many ports each is as likely, as a distribution
}

// Width is one possible number of equally likely ports.
type Width struct {
	Ports  int     `json:"ports"`
	Weight float64 `json:"weight"`
}

// Traffic is one possibility for the foreign mappings that a NAT makes between
// two of ours. They come as a Poisson process of batches of geometric size, so
// that their number in a time t has the mean rate·t and the variance
// dispersion·rate·t, and is Poisson where the dispersion is 1. The
// rate itself is known only so far: its logarithm is normal on either side of
// that of Rate, and Ratio is e to the power of half the standard deviation
// above it, RatioBelow that below.
type Traffic struct {
	Rate       float64 `json:"rate"`                 // the likeliest, mappings per second
	Ratio      float64 `json:"ratio"`                // at least 1
	RatioBelow float64 `json:"ratio_below,omitzero"` // at least 1; absent: as Ratio
	Dispersion float64 `json:"dispersion"`           // variance to mean, at least 1
	Weight     float64 `json:"weight"`
}

// below is the ratio for slower traffic.
func (t Traffic) below() float64 {
	if t.RatioBelow == 0 {
		return t.Ratio
	}
	return t.RatioBelow
}

// Bounds on what a peer may send. Everything computed from a behaviour within
// them takes milliseconds and kilobytes.
const (
	maxModels     = 8
	maxSeen       = 32
	maxTraffic    = 8
	maxWidths     = 8
	maxRate       = 20_000 // foreign mappings per second
	maxRatio      = 32
	maxDispersion = 1_000
)

// errBounds is what every behaviour gets that Classify never makes.
var errBounds = errors.New("a NAT's behaviour is out of bounds")

// Check refuses a behaviour that no honest peer sends.
func (b Behavior) Check() error {
	p := b.Ports
	if len(p.Posterior) > maxModels || len(p.Seen) > maxSeen || len(p.Next) > 0 || b.PooledAddresses < 0 ||
		b.Mapping > nat.AddressOrPort || b.Filtering > nat.FilterAddressAndPortDependent {
		return errBounds
	}
	if slices.Contains(p.Seen, 0) {
		return errBounds
	}
	sum := 0.0
	for _, m := range p.Posterior {
		if !proper(m.Probability) || !m.Parameters.proper() || m.Model > nat.Parity {
			return errBounds
		}
		sum += m.Probability
	}
	const rounding = 1e-3 // of eight numbers with four places
	if sum > 1+rounding || !p.Parameters.proper() || p.Model > nat.Parity {
		return errBounds
	}
	return nil
}

// proper refuses NaN as well.
func proper(probability float64) bool { return probability >= 0 && probability <= 1 }

func (p Parameters) proper() bool {
	if len(p.Traffic) > maxTraffic || len(p.Widths) > maxWidths || p.Low > p.High || p.Delta < -65535 || p.Delta > 65535 {
		return false
	}
	for _, t := range p.Traffic {
		if !proper(t.Weight) || !(t.Rate >= 0 && t.Rate <= maxRate) || !(t.Ratio >= 1 && t.Ratio <= maxRatio) || !(t.below() >= 1 && t.below() <= maxRatio) ||
			!(t.Dispersion >= 1 && t.Dispersion <= maxDispersion) {
			return false
		}
	}
	for _, w := range p.Widths {
		if !proper(w.Weight) || w.Ports < 1 || w.Ports > 65535 {
			return false
		}
	}
	return true
}

// counts reports whether ports follow one another under this assignment.
func counts(p nat.PortAssignment) bool { return p == nat.Sequential || p == nat.Lowest }

// draws reports whether ports are drawn from a range.
func draws(p nat.PortAssignment) bool {
	return p == nat.Random || p == nat.Band || p == nat.Block || p == nat.Parity
}
