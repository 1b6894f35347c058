package punch

import (
	"net/netip"
	"time"

	"tcppunch/captures"
	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict"
	"tcppunch/predict/probe"
	"tcppunch/timing"
)

// Cause says why a meeting failed. The empty cause means that it did not.
type Cause string

// The causes that a peer can tell by itself.
const (
	PeerAbsent       Cause = "peer-absent"
	PeerLate         Cause = "peer-late"
	ClockTooPoor     Cause = "clock-too-poor"
	LaunchedLate     Cause = "launched-late"
	NATReset         Cause = "nat-reset"
	NATFiltered      Cause = "nat-filtered"
	NATICMP          Cause = "nat-icmp"
	PortMispredicted Cause = "port-mispredicted"

	SimultaneousOpenBlocked Cause = "simultaneous-open-blocked"

	Infeasible      Cause = "infeasible"
	AuthFailed      Cause = "auth-failed"
	CoordinatorLost Cause = "coordinator-lost"
	Refused         Cause = "refused"
	BudgetSpent     Cause = "budget-spent"
)

// Trust says what stands behind the peer's key.
type Trust string

// How a peer's key came to be trusted.
const (
	Pinned           Trust = "pinned"      // the user named the key, or an earlier meeting did
	FirstUse         Trust = "first-use"   // kept now, compared from the next meeting on
	CoordinatorsWord Trust = "coordinator" // there is no state to keep it in
)

// Report is the whole outcome of a meeting. What is nil is not known.
type Report struct {
	Transport   rendezvous.Transport `json:"transport"`   // tcp, or udp for the control
	Established bool                 `json:"established"` // both sides have proven their keys on the punched socket
	Cause       *Cause               `json:"cause"`       // why not; nil when established
	Explanation string               `json:"explanation"` // the outcome in one sentence
	Verdict     *captures.Verdict    `json:"verdict"`     // of the handshake, from the captured packets alone
	Crossing    *bool                `json:"crossing"`    // each SYN left before the other arrived
	Relayed     bool                 `json:"relayed"`

	Peer      string           `json:"peer"`
	PeerKey   rendezvous.KeyID `json:"peer_key"`
	PeerTrust *Trust           `json:"peer_trust"`
	Local     *netip.AddrPort  `json:"local"`     // of the nominated socket, or the first that tried
	Remote    *netip.AddrPort  `json:"remote"`    // where it was aimed
	Reflexive *netip.AddrPort  `json:"reflexive"` // this peer as the STUN servers saw the local port

	At                 *time.Time     `json:"at"`                     // the agreed instant, on the common timescale
	TimeSources        []string       `json:"time_sources"`           // that both peers asked, and that define the timescale
	LaunchError        *time.Duration `json:"launch_error_ns"`        // first SYN on the wire minus the instant, from the capture's stamps
	LaunchFrom         *string        `json:"launch_error_from"`      // "capture", or "call" where there was none
	Skew               *time.Duration `json:"skew_ns"`                // the peer's clock minus this one's, estimated
	SkewBound          *time.Duration `json:"skew_bound_ns"`          // the estimate is right within ± this, for certain
	SkewUncertainty    *time.Duration `json:"skew_uncertainty_ns"`    // and within ± this in 99 %
	Disturbance        *string        `json:"disturbance"`            // what happened to the clocks between the measurement and the launch
	LaunchStep         *string        `json:"launch_step"`            // how far the thread could be prepared: spin, nice or real-time
	EstablishedAfter   *time.Duration `json:"established_after_ns"`   // the instant until TCP stood
	AuthenticatedAfter *time.Duration `json:"authenticated_after_ns"` // the instant until the socket could be used
	RTT                *time.Duration `json:"rtt_ns"`                 // on the punched socket, the least seen in its handshake
	SYNsCalled         int            `json:"syns_called"`            // connect() calls
	SYNsOnWire         int            `json:"syns_on_wire"`           // SYNs that left, the kernel's retransmissions included
	SYNsProbing        int            `json:"syns_probing"`           // STUN connections; not part of the budget
	LowTTL             *LowTTL        `json:"low_ttl"`                // of the SYNs that were to die on the way; nil where there were none
	Probability        *float64       `json:"predicted_probability"`  // that the ports meet, computed before the launch
	PredictionGap      *time.Duration `json:"prediction_gap_ns"`      // last observation of the ports that were foretold until the last round; nil where none were

	Rounds   []Round          `json:"rounds"`
	Attempts []Attempt        `json:"attempts"`
	Refusals []string         `json:"refusals"` // addresses that policy did not let this host dial, and why
	Clock    *timing.Estimate `json:"clock"`
	NAT      *NAT             `json:"nat"`
	PeerNAT  *NAT             `json:"peer_nat"`
}

// NAT is what is known of the NAT in front of one peer.
type NAT struct {
	predict.Behavior
	probe.Inbound
	Unknown      []probe.Unknown       `json:"unknown,omitempty"` // why what takes a dial-back is null; nil of the peer's
	Observations []predict.Observation `json:"observations"`
}

// Round is one strategy carried out.
type Round struct {
	Strategy string `json:"strategy"` // simopen, low-ttl, knock, or the method of a plan
	Attempts int    `json:"attempts"`
	Outcome  string `json:"outcome"` // established, failed, or abandoned for another round's success

	At          *time.Time     `json:"at"`                    // the common instant of the round
	SYNs        int            `json:"syns"`                  // of this side that left, retransmissions included
	PeerSYNs    *int           `json:"peer_syns"`             // what the plan lets the peer send
	Probability *float64       `json:"predicted_probability"` // of the plan
	Gap         *time.Duration `json:"prediction_gap_ns"`     // last observation of the ports that were foretold until the instant
}

// Attempt is one connect() and what became of it. Times are measured from the
// agreed instant.
type Attempt struct {
	Round   int            `json:"round"`
	Local   netip.AddrPort `json:"local"`
	Remote  netip.AddrPort `json:"remote"`
	Called  time.Duration  `json:"called_after_ns"`
	Ended   time.Duration  `json:"ended_after_ns"`
	Outcome Outcome        `json:"outcome"`
	Error   string         `json:"error,omitempty"`
}

// Outcome is what became of an attempt.
type Outcome string

// The outcomes of one connect().
const (
	Stood       Outcome = "established"
	WasRefused  Outcome = "refused"     // a RST arrived
	Unreachable Outcome = "unreachable" // an ICMP error arrived, or there is no route
	Unanswered  Outcome = "unanswered"  // no answer before the deadline
	Abandoned   Outcome = "abandoned"   // another socket took its place or was nominated, or the meeting ended
	NotSent     Outcome = "not-sent"    // the system refused the call: no SYN left
)

// newReport has nothing in its lists, rather than no lists.
func newReport(peer string) Report {
	return Report{Transport: rendezvous.TCP, Peer: peer, TimeSources: []string{}, Rounds: []Round{}, Attempts: []Attempt{}, Refusals: []string{}}
}

func (r *Report) fail(cause Cause, explanation string) {
	r.Established, r.Cause, r.Explanation = false, &cause, explanation
}

func pointer[T any](v T) *T { return &v }
