package predict

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	local = netip.MustParseAddrPort("192.168.0.2:5000")
	a1    = netip.MustParseAddrPort("198.51.100.1:3478")
	a2    = netip.MustParseAddrPort("198.51.100.1:3479") // the second port
	b1    = netip.MustParseAddrPort("198.51.100.2:3478") // the second address
	b2    = netip.MustParseAddrPort("198.51.100.2:3479")
	wan   = netip.MustParseAddr("203.0.113.1")
)

// A sighting is a server and the outside port that it saw.
type sighting struct {
	server netip.AddrPort
	port   uint16
}

func observed(s ...sighting) []Observation {
	var obs []Observation
	for i, x := range s {
		obs = append(obs, Observation{start.Add(time.Duration(i) * 30 * time.Millisecond), local, x.server, netip.AddrPortFrom(wan, x.port)})
	}
	return obs
}

func TestClassifySaysNoMoreThanObservationsShow(t *testing.T) {
	yes := new(true)
	for name, test := range map[string]struct {
		obs  []Observation
		want Behavior
	}{
		"nothing": {nil, Behavior{}},
		"one server": {observed(sighting{a1, 6000}),
			Behavior{Translated: yes, PooledAddresses: 1}},
		"one server, preserved": {observed(sighting{a1, 5000}),
			Behavior{Translated: yes, Ports: named(nat.Preserving), PooledAddresses: 1}},
		"ports of one address agree": {observed(sighting{a1, 6000}, sighting{a2, 6000}),
			Behavior{Translated: yes, Mapping: nat.EndpointOrAddress, PooledAddresses: 1}},
		"addresses agree": {observed(sighting{a1, 6000}, sighting{b1, 6000}),
			Behavior{Translated: yes, Mapping: nat.EndpointIndependent, PooledAddresses: 1}},
		"addresses agree, preserved": {observed(sighting{a1, 5000}, sighting{b1, 5000}),
			Behavior{Translated: yes, Mapping: nat.EndpointIndependent, Ports: named(nat.Preserving), PooledAddresses: 1}},
		"ports of one address differ": {observed(sighting{a1, 6000}, sighting{a2, 9000}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, PooledAddresses: 1}},
		"addresses differ": {observed(sighting{a1, 6000}, sighting{b1, 9000}),
			Behavior{Translated: yes, Mapping: nat.AddressOrPort, PooledAddresses: 1}},
		"addresses differ, ports agree": {observed(sighting{a1, 6000}, sighting{a2, 6000}, sighting{b1, 9000}, sighting{b2, 9000}),
			Behavior{Translated: yes, Mapping: nat.AddressDependent, PooledAddresses: 1}},
		"sequential": {observed(sighting{a1, 6000}, sighting{a2, 6001}, sighting{b1, 6002}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: named(nat.Sequential), PooledAddresses: 1}},
		"sequential downwards through zero": {observed(sighting{a1, 100}, sighting{a2, 65436}, sighting{b1, 65236}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: named(nat.Sequential), PooledAddresses: 1}},
		"random": {observed(sighting{a1, 2000}, sighting{a2, 61001}, sighting{b1, 40000}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: named(nat.Random), PooledAddresses: 1}},
		"random as pf does": {observed(sighting{a1, 50500}, sighting{a2, 61001}, sighting{b1, 55003}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: named(nat.Random), PooledAddresses: 1}},
		"preserved first, drawn after the clash": {observed(sighting{a1, 5000}, sighting{a2, 61001}, sighting{b1, 51000}, sighting{b2, 55003}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: named(nat.Random), PooledAddresses: 1}},
		"band": {observed(sighting{a1, 7000}, sighting{a2, 7103}, sighting{b1, 7050}, sighting{b2, 7037}),
			Behavior{Translated: yes, Mapping: nat.AddressAndPortDependent, Ports: named(nat.Band), PooledAddresses: 1}},
	} {
		got := Classify(test.obs)
		got.Ports = named(got.Ports.Model)
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", name, text(got), text(test.want))
		}
	}
}

func named(p nat.PortAssignment) Ports { return Ports{Model: p} }

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestUntranslatedHostIsFoundWhereItIs(t *testing.T) {
	obs := []Observation{{start, local, a1, local}}
	b := Classify(obs)
	if b.Translated == nil || *b.Translated || b.Mapping != nat.EndpointIndependent {
		t.Errorf("got %s, want no translation", text(b))
	}
	if got, want := Candidates(Party{Behavior: b, Outside: local}, 9), []Candidate{{local, 1}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWildcardLocalAddressLeavesTranslationUnknown(t *testing.T) {
	o := observed(sighting{a1, 5000})
	o[0].Local = netip.MustParseAddrPort("0.0.0.0:5000")
	if b := Classify(o); b.Translated != nil {
		t.Errorf("translated: got %v, want unknown", *b.Translated)
	}
}

func TestFamiliesAreNotComparedWithEachOther(t *testing.T) {
	both := netip.MustParseAddrPort("[::]:5000")
	obs := []Observation{
		{start, both, netip.MustParseAddrPort("[::ffff:198.51.100.1]:3478"), netip.MustParseAddrPort("[::ffff:203.0.113.1]:6000")},
		{start.Add(1), both, netip.MustParseAddrPort("[2001:db8::1]:3478"), netip.MustParseAddrPort("[2001:db8:1::1]:5000")},
	}
	if b := Classify(obs); b.Mapping != nat.MappingUnknown || b.PooledAddresses != 1 {
		t.Errorf("got %s, want unknown mapping and one address", text(b))
	}
}

func TestClassifyDoesNotDependOnTheOrderOfItsInput(t *testing.T) {
	obs := observed(sighting{a1, 6000}, sighting{a2, 6001}, sighting{b1, 6002}, sighting{b2, 6003})
	want := Classify(obs)
	slices.Reverse(obs)
	if got := Classify(obs); !reflect.DeepEqual(got, want) {
		t.Errorf("reversed: got %s, want %s", text(got), text(want))
	}
}

// TestSYNsThatOvertakeEachOtherStillCount: a busy host stamps a SYN some
// milliseconds before it leaves, so that the next one gets the port before it.
func TestSYNsThatOvertakeEachOtherStillCount(t *testing.T) {
	const first = 40013
	for name, ports := range map[string][]uint16{
		"in order":       {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
		"two early ones": {0, 2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11},
		"the first four": {3, 2, 1, 0, 4, 5, 6, 7, 8, 9, 10, 11},
		"the last two":   {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 10},
		"at both ends":   {2, 0, 1, 3, 4, 5, 6, 7, 8, 9, 11, 10},
	} {
		var obs []Observation
		now := start
		for i, p := range ports {
			inside := netip.AddrPortFrom(local.Addr(), uint16(30000+7*(i/2)))
			obs = append(obs, Observation{now, inside, netip.AddrPortFrom(wan, uint16(3478+i%2)), netip.AddrPortFrom(wan, first+p)})
			if now = now.Add(3 * time.Millisecond); i >= 3 && i < 10 {
				now = now.Add(37 * time.Millisecond)
			}
		}
		b := Classify(obs)
		if b.Ports.Model != nat.Sequential {
			t.Errorf("%s: got %v, want sequential; posterior %+v", name, b.Ports.Model, b.Ports.Posterior)
			continue
		}
		next := Next(Party{Behavior: b, Outside: obs[len(obs)-1].Reflexive, Gap: 100 * time.Millisecond}, 1)
		if len(next) == 0 || next[0].Port != first+12 {
			t.Errorf("%s: next %v, want %d first", name, next, first+12)
		}
	}
}
