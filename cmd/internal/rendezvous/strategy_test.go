package rendezvous

import (
	"errors"
	"testing"

	"tcppunch/predict"
	"tcppunch/predict/nat"
	"tcppunch/predict/probe"
)

func TestBothSidesCarryOutTheStrategyThatOneNames(t *testing.T) {
	may := &Opening{ISN: 1}
	for _, c := range []struct {
		a, b Offer
		want Strategy
		err  error
	}{
		{Offer{}, Offer{}, Auto, nil},
		{Offer{Strategy: Auto}, Offer{}, Auto, nil},
		{Offer{Strategy: SimOpen}, Offer{}, SimOpen, nil},
		{Offer{Strategy: Listen}, Offer{Strategy: Auto}, Listen, nil},
		{Offer{Strategy: LowTTLs}, Offer{Strategy: LowTTLs}, LowTTLs, nil},
		{Offer{Strategy: LowTTLs}, Offer{Strategy: Listen}, "", ErrStrategy},
		{Offer{Strategy: Crafted, Opening: may}, Offer{Opening: may}, Crafted, nil},
		{Offer{Strategy: Crafted, Opening: may}, Offer{}, "", ErrCannot},
		{Offer{Strategy: FakeSYN, Opening: may}, Offer{Strategy: Auto}, "", ErrCannot},
	} {
		for _, s := range []Schedule{{low: Party{Offer: c.a}, high: Party{Offer: c.b}}, {low: Party{Offer: c.b}, high: Party{Offer: c.a}}} {
			if err := s.settleStrategy(); !errors.Is(err, c.err) || err == nil && s.Strategy != c.want {
				t.Errorf("%q and %q: got %q, %v, want %q, %v", c.a.Strategy, c.b.Strategy, s.Strategy, err, c.want, c.err)
			}
		}
	}
}

// behind is the offer of a peer behind such a box.
func behind(b predict.Behavior, in *probe.Inbound) Offer {
	return Offer{Candidates: []Candidate{{Kind: ServerReflexive, Behavior: &b, Inbound: in}}}
}

func TestTheSideThatIsOpenListens(t *testing.T) {
	cone := behind(predict.Behavior{Translated: new(true), Filtering: nat.FilterEndpointIndependent}, nil)
	usual := behind(predict.Behavior{Translated: new(true), Filtering: nat.FilterAddressAndPortDependent}, nil)
	unknown := behind(predict.Behavior{Translated: new(true)}, nil)
	public := behind(predict.Behavior{Translated: new(false)}, nil)
	firewall := behind(predict.Behavior{Translated: new(false), Filtering: nat.FilterAddressAndPortDependent}, nil)
	for _, c := range []struct {
		low, high Offer
		want      KeyID
	}{
		{cone, usual, "low"}, {usual, cone, "high"}, {public, public, "low"}, {firewall, public, "high"},
		{usual, unknown, ""}, {firewall, usual, ""}, {Offer{}, usual, ""},
	} {
		s := Schedule{low: Party{"low", c.low}, high: Party{"high", c.high}}
		if err := s.settleListener(); s.listener != c.want || (c.want == "") != errors.Is(err, ErrUnreached) {
			t.Errorf("%+v and %+v: %q listens, %v, want %q", c.low.Candidates, c.high.Candidates, s.listener, err, c.want)
		}
	}
}

func TestACrossingIsDeniedWhereBothSidesHaveSeenIt(t *testing.T) {
	no, yes := &probe.Inbound{SimultaneousOpen: new(false)}, &probe.Inbound{SimultaneousOpen: new(true)}
	for _, c := range []struct {
		low, high *probe.Inbound
		want      bool
	}{{no, no, true}, {no, yes, false}, {nil, no, false}, {nil, nil, false}, {no, &probe.Inbound{}, false}} {
		s := Schedule{low: Party{Offer: behind(predict.Behavior{}, c.low)}, high: Party{Offer: behind(predict.Behavior{}, c.high)}}
		if got := s.Denied(); got != c.want {
			t.Errorf("%v and %v: denied %v, want %v", c.low, c.high, got, c.want)
		}
	}
}
