// Package predict answers WHERE: at which address and port will a host's next
// outgoing TCP connection appear on the outside of its NAT?
//
// Everything here is a pure function of values: observations ([Observation])
// become a behaviour ([Classify]), a behaviour becomes ranked candidates
// ([Candidates]), and two behaviours become a plan with its hit probability
// under a SYN budget ([NewPlan], [Hit]). Package nat holds the words and a
// translator to test against; package probe makes observations.
//
// Hazards: observe from the very local port that will punch, since other
// ports predict badly; unknown is not false; every budget counts the SYNs of
// both sides together.
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
// zero value knows nothing; parameters without a meaning for the port
// assignment are zero and absent from JSON.
type Behavior struct {
	Translated *bool              `json:"translated"` // nil: unknown
	Mapping    nat.Mapping        `json:"mapping"`
	Filtering  nat.Filtering      `json:"filtering"` // never known to Classify: needs a dial-back
	Ports      nat.PortAssignment `json:"ports"`

	Delta int    `json:"delta,omitzero"` // Sequential: step from one port to the next
	Gaps  int    `json:"gaps,omitzero"`  // Sequential: how many steps were seen, all equal to Delta
	Low   uint16 `json:"low,omitzero"`   // Random: lowest port of the range
	High  uint16 `json:"high,omitzero"`  // Random: highest port of the range

	PooledAddresses int `json:"pooled_addresses,omitzero"` // distinct outside addresses seen; 0 when nothing was
}

// Candidate is a place where the peer-facing mapping may be.
type Candidate struct {
	Addr        netip.AddrPort `json:"addr"`
	Probability float64        `json:"probability"`
}

// Side is one peer's part in a plan.
type Side struct {
	Behavior Behavior `json:"behavior"`
	SYNs     int      `json:"syns"` // connection attempts that this side makes; 0: it listens
}

// Plan divides a SYN budget between two peers.
type Plan struct {
	A           Side    `json:"a"`
	B           Side    `json:"b"`
	Probability float64 `json:"probability"` // that one pair of SYNs meets
}
