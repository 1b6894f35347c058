package rendezvous

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
	"tcppunch/timing"
)

var (
	noon   = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	terms  = Terms{Present: noon, Agreed: noon.Add(300 * time.Millisecond)}
	steady = predict.Behavior{Mapping: nat.EndpointIndependent, Ports: predict.Ports{Model: nat.Preserving}}
)

func reflexive(addr string) Candidate {
	return Candidate{Kind: ServerReflexive, Addr: netip.MustParseAddrPort(addr), Behavior: &steady}
}

func host(addr string) Candidate { return Candidate{Kind: Host, Addr: netip.MustParseAddrPort(addr)} }

func party(key KeyID, o Offer) Party {
	o.Version = OfferVersion
	if o.Budget == 0 {
		o.Budget = 100
	}
	return Party{Key: key, Offer: o}
}

func measure(name string, offset, bound time.Duration) SourceOffset {
	return SourceOffset{Name: name, Offset: offset, Bound: bound, Delay: 2 * bound}
}

func TestBothPeersComputeTheSameSchedule(t *testing.T) {
	a := party("aaaa", Offer{
		Wish: Wish{After: 2 * time.Second}, Budget: 40, MinTTL: true,
		Candidates: []Candidate{reflexive("198.51.100.1:4000"), reflexive("[2001:db8::1]:4000")},
		Sources:    []SourceOffset{measure("coordinator", 137*time.Millisecond, 20*time.Millisecond), measure("n", 137*time.Millisecond, 5*time.Millisecond)},
	})
	b := party("bbbb", Offer{
		Wish: Wish{After: 5 * time.Second}, MinTTL: true,
		Candidates: []Candidate{reflexive("203.0.113.1:5000"), reflexive("[2001:db8::2]:5000")},
		Sources:    []SourceOffset{measure("n", -59*time.Millisecond, 7*time.Millisecond), measure("coordinator", -59*time.Millisecond, 20*time.Millisecond)},
	})
	s, err := Agree(a, b, terms)
	if err != nil {
		t.Fatal(err)
	}
	mirrored, err := Agree(b, a, terms)
	if err != nil {
		t.Fatal(err)
	}
	if !s.At.Equal(mirrored.At) || !slices.Equal(s.Sources, mirrored.Sources) || *s.Bound != *mirrored.Bound || s.Client != mirrored.Client {
		t.Errorf("got %+v, mirrored %+v", s, mirrored)
	}
	if want := noon.Add(5 * time.Second); !s.At.Equal(want) {
		t.Errorf("instant %s, want the later wish %s", s.At, want)
	}
	if drift := 2 * timing.Drift(4700*time.Millisecond); len(s.Sources) != 2 || *s.Bound != 12*time.Millisecond+drift || s.Budget != 40 || s.Client != "aaaa" || !s.MinTTL {
		t.Errorf("got %+v", s)
	}
	ours, theirs := s.For("aaaa"), s.For("bbbb")
	if len(ours) != 2 || len(theirs) != 2 {
		t.Fatalf("got %d and %d pairs, want 2 each", len(ours), len(theirs))
	}
	for i := range ours {
		if ours[i].Local != theirs[i].Remote || ours[i].Remote != theirs[i].Local {
			t.Errorf("pair %d: %v and %v are no mirror images", i, ours[i], theirs[i])
		}
	}
	if !ours[0].Remote.Addr.Addr().Is6() {
		t.Error("IPv6 is not launched first")
	}
	if skew := s.PeerClock("aaaa"); skew == nil || *skew != 196*time.Millisecond {
		t.Errorf("the peer's clock is ahead by %v, want 196ms", skew)
	}
}

func TestInstantFollowsTheWishes(t *testing.T) {
	at := noon.Add(10 * time.Second)
	past := noon.Add(-time.Second)
	tests := []struct {
		name string
		a, b Wish
		want time.Time
		err  error
	}{
		{"the later relative wish wins", Wish{After: 2 * time.Second}, Wish{After: 3 * time.Second}, noon.Add(3 * time.Second), nil},
		{"an absolute wish wins when later", Wish{At: &at}, Wish{After: time.Second}, at, nil},
		{"too soon becomes as soon as can be", Wish{}, Wish{}, terms.Agreed.Add(140 * time.Millisecond), nil},
		{"an absolute wish that has passed is too late", Wish{At: &past}, Wish{}, time.Time{}, ErrPeerLate},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sources := []SourceOffset{measure(CoordinatorSource, 0, 20*time.Millisecond)}
			a := party("a", Offer{Wish: test.a, Candidates: []Candidate{reflexive("198.51.100.1:1")}, Sources: sources})
			b := party("b", Offer{Wish: test.b, Candidates: []Candidate{reflexive("203.0.113.1:1")}, Sources: sources})
			s, err := Agree(a, b, terms)
			if !errors.Is(err, test.err) || !s.At.Equal(test.want) {
				t.Errorf("got %s, %v; want %s, %v", s.At, err, test.want, test.err)
			}
		})
	}
}

func TestRelativeInstantIsCarriedToTheCommonTimescale(t *testing.T) {
	// The server n is 1 h ahead of the coordinator and counts most; both peers
	// must launch 2 s after the coordinator's noon all the same.
	sources := func(local time.Duration) []SourceOffset {
		return []SourceOffset{measure(CoordinatorSource, local, 20*time.Millisecond), measure("n", local+time.Hour, time.Millisecond)}
	}
	a := party("a", Offer{Wish: Wish{After: 2 * time.Second}, Candidates: []Candidate{reflexive("198.51.100.1:1")}, Sources: sources(time.Minute)})
	b := party("b", Offer{Candidates: []Candidate{reflexive("203.0.113.1:1")}, Sources: sources(-time.Minute)})
	s, err := Agree(a, b, terms)
	if err != nil {
		t.Fatal(err)
	}
	for key, offset := range map[KeyID]time.Duration{"a": time.Minute, "b": -time.Minute} {
		local := s.At.Add(-s.Offset(key))
		if want := noon.Add(2*time.Second - offset); !local.Equal(want) {
			t.Errorf("%s launches at %s by its own clock, want %s", key, local, want)
		}
	}
}

func TestWithoutSynchronisationNothingBoundsTheSkew(t *testing.T) {
	a := party("a", Offer{Candidates: []Candidate{reflexive("198.51.100.1:1")}, Sources: []SourceOffset{measure(CoordinatorSource, 0, time.Millisecond)}})
	b := party("b", Offer{Candidates: []Candidate{reflexive("203.0.113.1:1")}})
	s, err := Agree(a, b, terms)
	if err != nil {
		t.Fatal(err)
	}
	if s.Bound != nil || len(s.Sources) != 0 || s.PeerClock("a") != nil {
		t.Errorf("got %+v, want no timescale", s)
	}
}

func TestImpossibleSchedulesAreRefused(t *testing.T) {
	v4 := Offer{Candidates: []Candidate{reflexive("198.51.100.1:1")}}
	v6 := Offer{Candidates: []Candidate{reflexive("[2001:db8::1]:1")}}
	if _, err := Agree(party("a", v4), party("b", v6), terms); !errors.Is(err, ErrInfeasible) {
		t.Errorf("no common family: got %v", err)
	}
	if _, err := Agree(party("a", v4), party("a", v4), terms); !errors.Is(err, ErrSameKey) {
		t.Errorf("one key on both sides: got %v", err)
	}
}

func TestHostAddressesCostFewSYNsAndGoFirst(t *testing.T) {
	a := party("a", Offer{Candidates: []Candidate{reflexive("198.51.100.1:1"), host("192.168.1.2:1")}})
	b := party("b", Offer{Candidates: []Candidate{reflexive("198.51.100.1:2"), host("192.168.1.3:2")}})
	s, err := Agree(a, b, terms)
	if err != nil {
		t.Fatal(err)
	}
	pairs := s.For("a")
	if len(pairs) != 2 || pairs[0].Remote.Kind != Host || pairs[0].SYNs != HostSYNs || pairs[1].SYNs != 100-HostSYNs {
		t.Errorf("got %+v", pairs)
	}
}

func TestOnlyAttestedAndAllowedAddressesAreDialled(t *testing.T) {
	policy := Policy{Coordinator: netip.MustParseAddr("192.0.2.10"), OnLink: []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}}
	attested := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:9"), netip.MustParseAddrPort("10.0.0.1:9")}
	tests := []struct {
		remote  Candidate
		allowed bool
	}{
		{reflexive("203.0.113.1:77"), true}, // another port of an address that was seen
		{reflexive("203.0.113.2:77"), false},
		{reflexive("10.0.0.1:77"), false}, // seen, but private, and the coordinator is not
		{host("192.168.1.9:5"), true},
		{host("192.168.2.9:5"), false},
		{host("169.254.169.254:80"), false},
	}
	for _, test := range tests {
		allowed, refused := Attest([]Pair{{Remote: test.remote}}, attested, policy)
		if (len(allowed) == 1) != test.allowed || len(allowed)+len(refused) != 1 {
			t.Errorf("%s %s: allowed %v, refused %v", test.remote.Kind, test.remote.Addr, allowed, refused)
		}
	}
}

func TestOfferIsValidOnlyForItsRecipientAndIntroduction(t *testing.T) {
	maker, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	o := Offer{Version: OfferVersion, Budget: 7, Candidates: []Candidate{reflexive("198.51.100.1:1")}}
	signed, err := o.Sign(maker.Key, "bob", "session")
	if err != nil {
		t.Fatal(err)
	}
	got, err := signed.Open(maker.ID(), "bob", "session")
	if err != nil || got.Budget != 7 || !slices.EqualFunc(got.Candidates, o.Candidates, func(a, b Candidate) bool { return a.Addr == b.Addr }) {
		t.Fatalf("got %+v, %v", got, err)
	}
	other, _ := NewIdentity()
	for name, open := range map[string]func() (Offer, error){
		"another maker":        func() (Offer, error) { return signed.Open(other.ID(), "bob", "session") },
		"another recipient":    func() (Offer, error) { return signed.Open(maker.ID(), "eve", "session") },
		"another introduction": func() (Offer, error) { return signed.Open(maker.ID(), "bob", "again") },
		"no key":               func() (Offer, error) { return signed.Open("", "bob", "session") },
	} {
		if _, err := open(); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: got %v, want ErrSignature", name, err)
		}
	}
	signed.Payload = append(slices.Clone(signed.Payload), ' ')
	if _, err := signed.Open(maker.ID(), "bob", "session"); !errors.Is(err, ErrSignature) {
		t.Errorf("changed payload: got %v, want ErrSignature", err)
	}
}

func TestPairsShareTheBudget(t *testing.T) {
	spare := func(addr string) Candidate {
		c := reflexive(addr)
		c.Spare = true
		return c
	}
	a := []Candidate{reflexive("198.51.100.1:1"), reflexive("[2001:db8::1]:1"), host("192.168.1.2:1"), spare("198.51.100.1:2"), spare("[2001:db8::1]:2")}
	b := []Candidate{reflexive("198.51.100.1:3"), reflexive("[2001:db8::2]:3"), host("192.168.1.3:3"), spare("198.51.100.1:4"), spare("[2001:db8::2]:4")}
	for _, test := range []struct {
		budget int
		want   []int // SYNs by pair: host, IPv6, IPv4, spares
	}{
		{100, []int{2, 41, 41, 8, 8}},
		{36, []int{2, 9, 9, 8, 8}},
		{35, []int{2, 12, 12, 8}}, // no more than half for what may not be needed
		{10, []int{2, 4, 4}},
		{4, []int{2, 1, 1}},
		{3, []int{2, 1}},
		{1, nil},
	} {
		s, err := Agree(party("a", Offer{Candidates: a, Budget: test.budget}), party("b", Offer{Candidates: b, Budget: test.budget}), terms)
		var got []int
		sum := 0
		if err == nil {
			for _, p := range s.For("b") {
				got = append(got, p.SYNs)
				sum += p.SYNs
			}
		}
		if !slices.Equal(got, test.want) || sum > test.budget {
			t.Errorf("budget %d: got %v (%v), want %v", test.budget, got, err, test.want)
		}
	}
}
