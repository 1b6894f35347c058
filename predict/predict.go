// Package predict answers WHERE: at which address and port will a host's next
// outgoing TCP connection appear on the outside of its NAT?
//
// Everything here is a pure function of values. Observations ([Observation])
// become a behaviour with a posterior over the ways in which NATs assign ports
// ([Classify]). A behaviour becomes ranked candidates with their probabilities
// ([Candidates]). Two of them become a plan under a SYN budget: who opens how
// many mappings, aimed where, and how likely the two meet ([NewPlan]). Package
// nat holds the words and an emulator to test against; package probe makes
// observations.
//
// Read model.go for what is exchanged, posterior.go for the inference,
// forecast.go for the prediction, and plan.go for the plans.
//
// Hazards: observe from the very local ports that will punch, since other
// ports predict badly; unknown is not false; every budget counts the SYNs of
// both sides together. Both peers compute a plan from the same offers on
// different machines, so from forecast.go on there is no function of package
// math but what IEEE 754 defines to the last bit, and every product that is
// added to something is rounded first (float64(x*y) + z): compilers fuse the
// two on some machines and not on others.
package predict

import (
	"net/netip"
	"time"

	"tcppunch/predict/nat"
)

// Observation is one mapping as a server saw it: a connection from Local to
// Server appeared to come from Reflexive.
type Observation struct {
	At        time.Time      `json:"at"` // when the SYN left
	Local     netip.AddrPort `json:"local"`
	Server    netip.AddrPort `json:"server"`
	Reflexive netip.AddrPort `json:"reflexive"`
}

// Behavior is what observations tell about the NAT in front of one host. The
// zero value knows nothing. It travels in offers: see [Behavior.Check].
type Behavior struct {
	Translated *bool         `json:"translated"` // nil: unknown
	Mapping    nat.Mapping   `json:"mapping"`
	Filtering  nat.Filtering `json:"filtering"` // never known to Classify: needs a dial-back
	Ports      Ports         `json:"ports"`

	PooledAddresses int `json:"pooled_addresses,omitzero"` // distinct outside addresses seen; 0 when nothing was
}

// Candidate is a place where the peer-facing mapping may be.
type Candidate struct {
	Addr        netip.AddrPort `json:"addr"`
	Probability float64        `json:"probability"`
}
