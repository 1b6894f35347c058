package rendezvous

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
	"tcppunch/predict/probe"
)

var (
	counting = predict.Behavior{Mapping: nat.AddressAndPortDependent, Ports: predict.Ports{
		Model: nat.Sequential, Parameters: predict.Parameters{Delta: 1, Traffic: []predict.Traffic{{Rate: 5, Ratio: 1.2, Dispersion: 1, Weight: 1}}},
		Posterior: []predict.Model{{Model: nat.Sequential, Probability: 1}}, Seen: []uint16{40000, 40003, 40004}}}
	banded = predict.Behavior{Mapping: nat.AddressAndPortDependent, Ports: predict.Ports{
		Model: nat.Band, Parameters: predict.Parameters{Low: 20000, High: 20250, Widths: []predict.Width{{Ports: 251, Weight: 1}}},
		Posterior: []predict.Model{{Model: nat.Band, Probability: 1}}, Seen: []uint16{20010, 20200, 20100}}}
	drawn = predict.Behavior{Mapping: nat.AddressAndPortDependent, Ports: predict.Ports{
		Model: nat.Random, Parameters: predict.Parameters{Low: 1024, High: 65535, Widths: []predict.Width{{Ports: 64512, Weight: 1}}},
		Posterior: []predict.Model{{Model: nat.Random, Probability: 1}}, Seen: []uint16{2000, 60000, 30000}}}
	closed     = predict.Behavior{Mapping: nat.EndpointIndependent, Filtering: nat.FilterAddressAndPortDependent, Ports: steady.Ports}
	unfiltered = predict.Behavior{Mapping: nat.EndpointIndependent, Filtering: nat.FilterEndpointIndependent, Ports: steady.Ports}
)

// side is a party behind a NAT that takes part in the exchange of forecasts.
func side(key KeyID, addr string, b predict.Behavior, budget int) Party {
	return party(key, Offer{Budget: budget, Forecast: true, Sources: []SourceOffset{measure(CoordinatorSource, 0, 20*time.Millisecond)},
		Candidates: []Candidate{{Kind: ServerReflexive, Addr: netip.MustParseAddrPort(addr), Behavior: &b}}})
}

func forecast(p Party, round int, age time.Duration) Forecast {
	c := p.Offer.Candidates[0]
	return Forecast{Round: round, Behavior: *c.Behavior, Outside: c.Addr, Seen: noon.Add(time.Second - age)}
}

func TestBothPeersComputeTheSameVolleys(t *testing.T) {
	for _, test := range []struct {
		name    string
		a, b    predict.Behavior
		budget  int
		volleys bool
		knock   bool
		method  predict.Method
		least   float64
	}{
		{"both known", steady, steady, 100, false, false, "", 1},
		{"known and counting", steady, counting, 16, true, false, predict.Comb, .9},
		{"counting and counting", counting, counting, 64, true, false, predict.OnePoint, .9},
		{"known and banded", steady, banded, 64, true, true, predict.Birthday, .9},
		{"banded and banded", banded, banded, 500, true, false, predict.OnePoint, .9},
		{"open and drawn", unfiltered, drawn, 16, true, false, predict.Listen, 1},
		{"open and known", unfiltered, steady, 100, false, false, "", 1}, // their SYNs cross, whatever the filter
		{"closed and banded", closed, banded, 64, true, false, predict.Birthday, .9},
		{"known and drawn", steady, drawn, 16, true, true, predict.Birthday, 0},
	} {
		a, b := side("aaaa", "198.51.100.1:4000", test.a, 2*test.budget), side("bbbb", "203.0.113.1:5000", test.b, test.budget)
		s, err := Agree(a, b, terms)
		mirrored, err2 := Agree(b, a, terms)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if s.Volleys != test.volleys || s.Knock != test.knock || mirrored.Volleys != s.Volleys || mirrored.Knock != s.Knock || *s.Expected < test.least {
			t.Errorf("%s: got volleys %v, knock %v, p = %v", test.name, s.Volleys, s.Knock, *s.Expected)
		}
		if !test.volleys {
			continue
		}
		fa, fb, at := forecast(a, 1, 100*time.Millisecond), forecast(b, 1, 200*time.Millisecond), noon.Add(time.Second)
		v := s.VolleyRound("aaaa", Forecasts{Own: fa, Peer: fb, At: at}, s.Budget)
		w := mirrored.VolleyRound("bbbb", Forecasts{Own: fb, Peer: fa, At: at}, mirrored.Budget)
		if !reflect.DeepEqual(v, w) {
			t.Errorf("%s: one peer plans %+v, the other %+v", test.name, v, w)
		}
		if v.Plan.Method != test.method || v.SYNs() > test.budget || v.Plan.Probability < test.least-.2 || v.SYNsOf(s, "aaaa")+v.SYNsOf(s, "bbbb") != v.SYNs() {
			t.Errorf("%s: got %s with %d SYNs and p = %v", test.name, v.Plan.Method, v.SYNs(), v.Plan.Probability)
		}
		if v.At.Before(at.Add(s.Delay)) || v.Gap > v.At.Sub(fb.Seen) {
			t.Errorf("%s: at %s after the forecasts, with a gap of %s", test.name, v.At.Sub(at), v.Gap)
		}
	}
}

func TestWithoutTheExchangeNoVolleysArePlanned(t *testing.T) {
	a, b := side("aaaa", "198.51.100.1:4000", steady, 100), side("bbbb", "203.0.113.1:5000", counting, 100)
	b.Offer.Forecast = false
	s, err := Agree(a, b, terms)
	if err != nil || s.Volleys || s.Knock {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestNobodyPlansWhatIsHopeless(t *testing.T) {
	s, err := Agree(side("aaaa", "198.51.100.1:4000", drawn, 100), side("bbbb", "203.0.113.1:5000", drawn, 100), terms)
	if err != nil || *s.Expected > 1e-5 || s.Knock {
		t.Errorf("got p = %v, knock %v, %v", *s.Expected, s.Knock, err)
	}
}

func TestResetsOnAShortPathLowerTheTTL(t *testing.T) {
	a, b := side("aaaa", "198.51.100.1:4000", counting, 64), side("bbbb", "203.0.113.1:5000", counting, 64)
	for delay, want := range map[time.Duration]bool{100 * time.Microsecond: true, 20 * time.Millisecond: false} {
		for _, p := range []*Party{&a, &b} {
			p.Offer.Sources = []SourceOffset{{Name: CoordinatorSource, Bound: delay, Uncertainty: delay / 10, Delay: 2 * delay}}
		}
		s, err := Agree(a, b, terms)
		if err != nil {
			t.Fatal(err)
		}
		fa, fb := forecast(a, 2, 0), forecast(b, 2, 0)
		fa.Resets = 8
		v := s.VolleyRound("aaaa", Forecasts{Own: fa, Peer: fb, At: noon.Add(time.Second)}, 48)
		if got := v.Name == LowTTL; got != want || v.SYNs() > 48 || got != (v.Earnest != "") {
			t.Errorf("delay %s: got %s with %d SYNs, in earnest %q", delay, v.Name, v.SYNs(), v.Earnest)
		}
	}
}

// Where an offer says that a NAT answers SYNs with resets, none need be lost to
// them first.
func TestAResettingNATOnAShortPathLowersTheFirstVolley(t *testing.T) {
	resets, drops := &probe.Inbound{Unsolicited: nat.Reset}, &probe.Inbound{Unsolicited: nat.Drop}
	for _, test := range []struct {
		low, high *probe.Inbound
		delay     time.Duration // there and back
		round     int
		want      bool
	}{
		{resets, resets, 0, 1, true},
		{resets, drops, 200 * time.Microsecond, 1, true},
		{nil, &probe.Inbound{Unsolicited: nat.Poison}, 200 * time.Microsecond, 1, true},
		{drops, nil, 200 * time.Microsecond, 1, false},
		{resets, resets, 200 * time.Microsecond, 2, false}, // the first one has failed without a reset
		{resets, resets, 4 * time.Millisecond, 1, false},   // they surely cross
	} {
		behind := counting
		behind.Translated = new(true)
		a, b := side("aaaa", "198.51.100.1:4000", behind, 64), side("bbbb", "203.0.113.1:5000", behind, 64)
		a.Offer.Candidates[0].Inbound, b.Offer.Candidates[0].Inbound = test.low, test.high
		for _, p := range []*Party{&a, &b} {
			p.Offer.Sources = []SourceOffset{{Name: CoordinatorSource, Bound: test.delay, Uncertainty: max(test.delay/20, 1), Delay: test.delay}}
		}
		s, err := Agree(a, b, terms)
		mirrored, err2 := Agree(b, a, terms)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		fa, fb, at := forecast(a, test.round, 0), forecast(b, test.round, 0), noon.Add(time.Second)
		v := s.VolleyRound("aaaa", Forecasts{Own: fa, Peer: fb, At: at}, 64)
		if w := mirrored.VolleyRound("bbbb", Forecasts{Own: fb, Peer: fa, At: at}, 64); !reflect.DeepEqual(v, w) {
			t.Errorf("%+v: one peer plans %+v, the other %+v", test, v, w)
		}
		if got := v.Name == LowTTL; got != test.want || v.SYNs() > 64 {
			t.Errorf("%+v: got %s with %d SYNs", test, v.Name, v.SYNs())
		}
	}
}

func TestAForecastCountsOnceAndForOneRecipient(t *testing.T) {
	maker := newIdentity(t)
	f := Forecast{Round: 2, Behavior: counting, Outside: netip.MustParseAddrPort("203.0.113.1:40004"), Seen: noon}
	signed, err := f.Sign(maker.Key, "bob", "session")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := signed.Open(maker.ID(), "bob", "session", 2); err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := signed.Open(maker.ID(), "bob", "session", 3); err == nil {
		t.Error("a forecast of another round counts")
	}
	if _, err := signed.Open(maker.ID(), "carol", "session", 2); !errors.Is(err, ErrSignature) {
		t.Errorf("for another recipient: got %v", err)
	}
	asOffer := SignedOffer(signed)
	if _, err := asOffer.Open(maker.ID(), "bob", "session"); !errors.Is(err, ErrSignature) {
		t.Errorf("as an offer: got %v", err)
	}
}

func TestTheCoordinatorExchangesForecastsAfterTheAgreement(t *testing.T) {
	at, idx, idy := serveCoordinator(t), newIdentity(t), newIdentity(t)
	x, y := join(t, at, idx, "x"), join(t, at, idy, "y")
	later := meetLater(t, x, "y", "")
	if _, err := y.Meet(t.Context(), "x", ""); err != nil {
		t.Fatal(err)
	}
	if got := <-later; got.err != nil {
		t.Fatal(got.err)
	}
	agreed := make(chan error, 1)
	go func() {
		_, err := x.Exchange(t.Context(), SignedOffer{})
		agreed <- err
	}()
	if _, err := y.Exchange(t.Context(), SignedOffer{}); err != nil || <-agreed != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		got := make(chan Foretold, 1)
		go func() {
			f, _ := x.Foretell(t.Context(), SignedForecast{Payload: []byte{1}})
			got <- f
		}()
		theirs, err := y.Foretell(t.Context(), SignedForecast{Payload: []byte{2}})
		ours := <-got
		if err != nil || theirs.Forecast.Payload[0] != 1 || ours.Forecast.Payload[0] != 2 || !ours.At.Equal(theirs.At) || len(ours.Attested) == 0 {
			t.Fatalf("round %d: got %+v and %+v, %v", round, ours, theirs, err)
		}
	}
	y.Close()
	if _, err := x.Foretell(t.Context(), SignedForecast{}); kindOf(err) != KindPeerLeft {
		t.Errorf("got %v, want that the peer has left", err)
	}
}
