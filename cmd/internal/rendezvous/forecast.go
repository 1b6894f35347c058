package rendezvous

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"tcppunch/predict"
)

// A Forecast is what one peer's NAT has shown shortly before a round. Both
// peers compute the same plan from both.
type Forecast struct {
	Round    int              `json:"round"` // from 1; a forecast counts for this round only
	Behavior predict.Behavior `json:"behavior"`
	Outside  netip.AddrPort   `json:"outside"` // of the last mapping that was observed, or of the one that stands
	Seen     time.Time        `json:"seen"`    // when that was made, on the timescale of the schedule
	Resets   int              `json:"resets"`  // SYNs of the round before that a reset answered here
}

// SignedForecast is a forecast as it travels; see SignedOffer.
type SignedForecast struct {
	Payload   []byte `json:"payload"`
	Signature []byte `json:"signature"`
}

// Sign makes a forecast for one peer and one introduction.
func (f Forecast) Sign(key ed25519.PrivateKey, peer KeyID, session string) (s SignedForecast, err error) {
	s.Payload, s.Signature, err = sign(f, "forecast", key, peer, session)
	return s, err
}

// Open checks a forecast that maker is said to have signed for recipient, and
// that it is one for this round.
func (s SignedForecast) Open(maker, recipient KeyID, session string, round int) (f Forecast, err error) {
	if err := open(&f, "forecast", s.Payload, s.Signature, maker, recipient, session); err != nil {
		return Forecast{}, err
	}
	if f.Round != round {
		return Forecast{}, fmt.Errorf("the peer's forecast is for round %d, not %d", f.Round, round)
	}
	return f, f.check()
}

// check refuses what no honest peer sends.
func (f Forecast) check() error {
	if !f.Outside.IsValid() || f.Outside.Port() == 0 || f.Outside.Addr().Zone() != "" || f.Resets < 0 || f.Resets > maxBudget {
		return errors.New("the peer's forecast holds an address that is none")
	}
	if err := f.Behavior.Check(); err != nil {
		return fmt.Errorf("the peer's forecast: %w", err)
	}
	return nil
}
