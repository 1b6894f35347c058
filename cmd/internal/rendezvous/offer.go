package rendezvous

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/probe"
)

// OfferVersion is the version of the offer's format and of the schedule's
// rules: both sides must compute the same schedule.
const OfferVersion = 1

// CandidateKind is a candidate type of RFC 8445 section 5.1.1.
type CandidateKind string

// The kinds that are exchanged.
const (
	Host            CandidateKind = "host"
	ServerReflexive CandidateKind = "server-reflexive"
)

// Candidate is an address at which a peer expects to be met.
type Candidate struct {
	Kind     CandidateKind     `json:"kind"`
	Addr     netip.AddrPort    `json:"addr"`
	Spare    bool              `json:"spare,omitempty"`    // of a second local port, for the round after the first
	Behavior *predict.Behavior `json:"behavior,omitempty"` // of the NAT in front; nil for host candidates
	Inbound  *probe.Inbound    `json:"inbound,omitempty"`  // how it treats SYNs from outside; nil where that was not measured
}

// Wish is when a peer wants to meet: at an absolute time, or After both are
// present. Exactly one is set; a zero After with no At means as soon as can be.
type Wish struct {
	At    *time.Time    `json:"at,omitempty"`
	After time.Duration `json:"after_ns,omitempty"`
}

// SourceOffset is what a peer measured against one time source.
type SourceOffset struct {
	Name        string        `json:"name"`
	Offset      time.Duration `json:"offset_ns"`      // source minus the peer's own clock
	Bound       time.Duration `json:"bound_ns"`       // the offset is right within ± this for certain
	Uncertainty time.Duration `json:"uncertainty_ns"` // and within ± this in 99 %; 0: unknown
	Delay       time.Duration `json:"delay_ns"`       // round trip
}

// Offer is one peer's half of a schedule.
type Offer struct {
	Version    int            `json:"version"`
	Wish       Wish           `json:"wish"`
	Candidates []Candidate    `json:"candidates"`
	Sources    []SourceOffset `json:"sources"`             // empty: this peer's clock is not synchronised
	Budget     int            `json:"budget"`              // SYNs this peer consents to send, retransmissions included
	MinTTL     bool           `json:"min_ttl"`             // this host can ignore segments by their TTL (IP_MINTTL)
	Transport  Transport      `json:"transport,omitempty"` // what the candidates are ports of; absent: TCP
	Forecast   bool           `json:"forecast,omitempty"`  // this peer and its coordinator exchange forecasts
	Strategy   Strategy       `json:"strategy,omitempty"`  // absent: Auto
	Opening    *Opening       `json:"opening,omitempty"`   // absent: this peer may not craft segments
}

// SignedOffer is an offer as it travels. The signature covers who it is for
// and the introduction it belongs to, so that it cannot be used elsewhere.
type SignedOffer struct {
	Payload   []byte `json:"payload"`
	Signature []byte `json:"signature"`
}

// ErrSignature means that an offer or a forecast was not made by the key that
// it claims.
var ErrSignature = errors.New("the signature does not match the peer's key")

// Sign makes an offer for one peer and one introduction.
func (o Offer) Sign(key ed25519.PrivateKey, peer KeyID, session string) (s SignedOffer, err error) {
	s.Payload, s.Signature, err = sign(o, "offer", key, peer, session)
	return s, err
}

// Open checks an offer that maker is said to have signed for recipient.
func (s SignedOffer) Open(maker, recipient KeyID, session string) (o Offer, err error) {
	if err := open(&o, "offer", s.Payload, s.Signature, maker, recipient, session); err != nil {
		return Offer{}, err
	}
	return o, o.check()
}

// sign encodes a message for one recipient and one introduction.
func sign(message any, kind string, key ed25519.PrivateKey, recipient KeyID, session string) (payload, signature []byte, err error) {
	payload, err = json.Marshal(message)
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", kind, err)
	}
	return payload, ed25519.Sign(key, signedBytes(kind, payload, recipient, session)), nil
}

// open is the inverse of sign. What it decodes is not checked yet.
func open(message any, kind string, payload, signature []byte, maker, recipient KeyID, session string) error {
	key := maker.PublicKey()
	if key == nil || !ed25519.Verify(key, signedBytes(kind, payload, recipient, session), signature) {
		return ErrSignature
	}
	if err := json.Unmarshal(payload, message); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	return nil
}

func signedBytes(kind string, payload []byte, recipient KeyID, session string) []byte {
	return fmt.Appendf(nil, "tcppunch %s %d\x00%s\x00%s\x00%s", kind, OfferVersion, recipient, session, payload)
}

const (
	maxCandidates = 16
	maxSources    = 16
	maxBudget     = 100_000
	maxWish       = 24 * time.Hour
	maxBound      = 24 * time.Hour
	maxOffset     = 50 * 365 * 24 * time.Hour
)

// check refuses what no honest peer sends, before anything is computed from it.
func (o Offer) check() error {
	switch {
	case o.Version != OfferVersion:
		return fmt.Errorf("the peer speaks offer version %d, this program %d: use the same release on both sides", o.Version, OfferVersion)
	case len(o.Candidates) > maxCandidates, len(o.Sources) > maxSources, o.Budget < 0, o.Budget > maxBudget,
		o.Wish.After < 0, o.Wish.After > maxWish:
		return errors.New("the peer's offer is out of bounds")
	case !slices.Contains(Strategies, o.strategy()):
		return errNoStrategy
	case o.Opening != nil && len(o.Opening.Options) > maxOptions:
		return errors.New("the peer's offer holds options that no SYN has")
	}
	for _, c := range o.Candidates {
		if !c.Addr.IsValid() || c.Addr.Port() == 0 || c.Addr.Addr().Zone() != "" {
			return errors.New("the peer's offer holds an address that is none")
		}
		if c.Behavior != nil {
			if err := c.Behavior.Check(); err != nil {
				return fmt.Errorf("the peer's offer: %w", err)
			}
		}
	}
	for _, s := range o.Sources {
		if !within(s.Bound) || !within(s.Delay) || !within(s.Uncertainty) || !plausible(s.Offset) {
			return errors.New("the peer's offer holds an impossible clock bound")
		}
	}
	return nil
}

func within(d time.Duration) bool { return d >= 0 && d <= maxBound }

// plausible bounds an offset so that sums of a few cannot overflow.
func plausible(d time.Duration) bool { return d.Abs() <= maxOffset && d != math.MinInt64 }
