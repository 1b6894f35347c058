package rendezvous

import (
	"net/netip"
	"time"
)

// message is what one frame holds: exactly one field is set. Unknown fields are
// passed over, so that a newer end can talk to an older one.
type message struct {
	Register *register     `json:"register,omitempty"` // peer → coordinator
	Welcome  *Welcome      `json:"welcome,omitempty"`  // coordinator → peer
	Time     *timeExchange `json:"time,omitempty"`     // both ways
	Meet     *meet         `json:"meet,omitempty"`     // peer → coordinator
	Waiting  *waiting      `json:"waiting,omitempty"`  // coordinator → peer
	Present  *Presence     `json:"present,omitempty"`  // coordinator → peer
	Offer    *SignedOffer  `json:"offer,omitempty"`    // peer → coordinator
	Agreed   *Agreed       `json:"agreed,omitempty"`   // coordinator → peer
	Probe    *probeRequest `json:"probe,omitempty"`    // peer → coordinator
	Probed   *probeAnswer  `json:"probed,omitempty"`   // coordinator → peer
	Error    *Error        `json:"error,omitempty"`    // coordinator → peer

	Forecast  *SignedForecast `json:"forecast,omitempty"`  // peer → coordinator
	Forecasts *Foretold       `json:"forecasts,omitempty"` // coordinator → peer
}

// register claims a name for the key that the connection proved. A guest
// claims none: it wants to be measured, and meets nobody.
type register struct {
	Name  string `json:"name"`
	Guest bool   `json:"guest,omitempty"`
}

// Welcome tells a registered peer what it may use.
type Welcome struct {
	Observed netip.AddrPort `json:"observed"` // the peer's end of this connection as the coordinator sees it
	Token    string         `json:"token"`    // USERNAME of the peer's STUN requests: ties an observation to the peer
	STUN     []string       `json:"stun"`     // HOST:PORT of the STUN servers; an empty host is the coordinator's own
	NTP      []string       `json:"ntp"`      // NTP servers that both peers should ask
	Features []string       `json:"features"` // what this coordinator does beyond the first version: FeatureForecast, FeatureDialBack
}

// timeExchange carries the four timestamps of RFC 5905 over the coordinator's
// connection, in nanoseconds of Unix time. The reply repeats Origin.
type timeExchange struct {
	Origin   int64 `json:"t1"`
	Receive  int64 `json:"t2,omitempty"`
	Transmit int64 `json:"t3,omitempty"`
}

// meet asks to be introduced.
type meet struct {
	Peer string `json:"peer"`
	Key  KeyID  `json:"key,omitempty"` // the key that the peer must have; empty accepts any
}

// waiting says why the peer is not there yet.
type waiting struct {
	Reason string `json:"reason"`
}

// Presence says that both peers are connected and ask for each other.
type Presence struct {
	Peer        string    `json:"peer"`
	Key         KeyID     `json:"key"`
	SameAddress bool      `json:"same_address"` // both are observed at one address: host addresses may be exchanged
	Session     string    `json:"session"`      // fresh for each introduction; part of what an offer's signature covers
	At          time.Time `json:"at"`           // coordinator's clock when both were there
}

// Agreed carries the other peer's offer.
type Agreed struct {
	Offer    SignedOffer      `json:"offer"`
	Attested []netip.AddrPort `json:"attested"` // addresses at which the coordinator has seen the other peer's completed connections
	At       time.Time        `json:"at"`       // coordinator's clock when it held both offers; the same for both peers
}

// The words in Welcome.Features.
const (
	FeatureForecast = "forecast"  // the exchange of forecasts
	FeatureDialBack = "dial-back" // probes
)

// Foretold carries the other peer's forecast of one round.
type Foretold struct {
	Forecast SignedForecast   `json:"forecast"`
	Attested []netip.AddrPort `json:"attested"` // as in Agreed, by now
	At       time.Time        `json:"at"`       // coordinator's clock when it held both forecasts; the same for both peers
}

// ErrorKind is a stable word for what the coordinator refuses.
type ErrorKind string

// What a coordinator can answer instead of what was asked.
const (
	KindNameTaken   ErrorKind = "name-taken"
	KindPeerLeft    ErrorKind = "peer-left"
	KindWrongKey    ErrorKind = "wrong-key"
	KindSameKey     ErrorKind = "same-key"
	KindReplaced    ErrorKind = "replaced"
	KindBusy        ErrorKind = "busy"
	KindBadRequest  ErrorKind = "bad-request"
	KindUnreachable ErrorKind = "unreachable" // made by the client: no coordinator answers there
	KindLost        ErrorKind = "lost"        // made by the client: the connection ended
)

// Error is a refusal in one sentence.
type Error struct {
	Kind    ErrorKind `json:"kind"`
	Message string    `json:"message"`
}

func (e *Error) Error() string { return e.Message }
