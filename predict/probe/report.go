package probe

import (
	"net/netip"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// Report is what a probe found. Unknown is null: a nil pointer, or the zero
// value of a word.
type Report struct {
	Translated *bool         `json:"translated"`
	Mapping    nat.Mapping   `json:"mapping"`
	Filtering  nat.Filtering `json:"filtering"`
	Inbound
	Hairpinning      *bool                 `json:"hairpinning"` // two inside endpoints connect by their outside ones
	Pooling          nat.Pooling           `json:"pooling"`
	PayloadRewritten *bool                 `json:"alg"` // an application layer gateway changes addresses in the payload
	Ports            predict.Ports         `json:"ports"`
	PooledAddresses  int                   `json:"pooled_addresses"` // distinct outside addresses seen
	Local            netip.AddrPort        `json:"local"`            // the port of the coming punch
	Reflexive        netip.AddrPort        `json:"reflexive"`        // as it was seen last
	Unknown          []Unknown             `json:"unknown"`          // why what is null is null
	Observations     []predict.Observation `json:"observations"`
	Unreachable      []Failure             `json:"unreachable"` // servers that did not answer
	Connections      int                   `json:"connections"` // attempts of both sides, from the first to the last
	Elapsed          time.Duration         `json:"elapsed_ns"`
}

// Inbound is how a NAT treats SYNs from outside, beyond its filtering. Unknown is
// null, as in a Report.
type Inbound struct {
	Unsolicited          nat.Unsolicited `json:"unsolicited"`            // what answers a SYN that nobody asked for
	SimultaneousOpen     *bool           `json:"simultaneous_open"`      // the SYN of a crossing is let in
	MappingSurvivesReset *bool           `json:"mapping_survives_reset"` // an attempt that was answered by a RST leaves its hole open
}

// Unknown says why a field could not be found out.
type Unknown struct {
	Field string `json:"field"`
	Why   string `json:"why"` // one sentence
}

// Failure is a server that was asked in vain.
type Failure struct {
	Server netip.AddrPort `json:"server"`
	Error  string         `json:"error"`
}

// Behavior is what a plan needs of the report.
func (r Report) Behavior() predict.Behavior {
	ports := r.Ports
	ports.Next = nil
	return predict.Behavior{Translated: r.Translated, Mapping: r.Mapping, Filtering: r.Filtering, Ports: ports, PooledAddresses: r.PooledAddresses}
}
