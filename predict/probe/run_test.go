package probe

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

// plain is a socket layer that can only dial.
type plain struct{ dialer }

func (plain) Listen(context.Context, netip.AddrPort) (net.Listener, error) {
	return nil, errors.ErrUnsupported
}
func (plain) Start(_, _ netip.AddrPort) (Attempt, error) { return nil, errors.ErrUnsupported }

// runBrief measures loopback, which translates nothing, without a partner.
func runBrief(t *testing.T, servers ...netip.AddrPort) (Report, error) {
	t.Helper()
	if reuse == nil {
		t.Skip("missing: connections that share a local port, on this platform")
	}
	return Run(t.Context(), Config{Network: plain{}, Servers: servers, Local: netip.MustParseAddrPort("127.0.0.1:0"), Brief: true})
}

// reasonFor is why a field is unknown.
func reasonFor(r Report, field string) string {
	for _, u := range r.Unknown {
		if u.Field == field {
			return u.Why
		}
	}
	return ""
}

func TestSTUNAloneTellsMappingsAndNamesWhatItCannotTell(t *testing.T) {
	second := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), freePort(t))
	first := serve(t, "127.0.0.1:0", func(c net.Conn) { Respond(c, second, nil) })
	serve(t, second.String(), func(c net.Conn) { Respond(c, first, nil) })
	r, err := runBrief(t, first, second)
	if err != nil {
		t.Fatal(err)
	}
	if r.Translated == nil || *r.Translated || r.Mapping != nat.EndpointIndependent || r.Ports.Model != nat.Preserving || r.Pooling != nat.Paired {
		t.Errorf("got translated %v, %v, %v, %v; want no translator", r.Translated, r.Mapping, r.Ports.Model, r.Pooling)
	}
	if r.PayloadRewritten == nil || *r.PayloadRewritten {
		t.Errorf("payload rewritten: got %v, want false", r.PayloadRewritten)
	}
	if len(r.Ports.Next) != 1 || r.Ports.Next[0].Port != r.Local.Port() || r.Reflexive != r.Local {
		t.Errorf("next ports: got %v, want only %d", r.Ports.Next, r.Local.Port())
	}
	for _, field := range []string{"filtering", "unsolicited", "simultaneous_open", "mapping_survives_reset", "hairpinning"} {
		if reasonFor(r, field) == "" {
			t.Errorf("nothing says why %s is unknown", field)
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, null := range []string{`"filtering":null`, `"unsolicited":null`, `"simultaneous_open":null`, `"hairpinning":null`} {
		if !strings.Contains(string(body), null) {
			t.Errorf("the document lacks %s", null)
		}
	}
}

func TestServersThatDoNotAnswerAreNamed(t *testing.T) {
	gone := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t)) // nobody listens any more
	server := serve(t, "127.0.0.1:0", func(c net.Conn) { Respond(c, netip.AddrPort{}, nil) })
	r, err := runBrief(t, gone, server)
	if err != nil || len(r.Unreachable) != 1 || r.Unreachable[0].Server != gone {
		t.Errorf("got %v, %v; want %v unreachable", r.Unreachable, err, gone)
	}
	if _, err := runBrief(t, gone); !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), gone.String()) {
		t.Errorf("without any answer: got %v, want %v that names %v", err, ErrNoServer, gone)
	}
}

// A whole run understands a server that others wrote, and finds its second
// address.
func TestRunAgainstCoturn(t *testing.T) {
	path, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("missing: turnserver (package coturn) in PATH")
	}
	port, alternate := freePort(t), freePort(t)
	startCoturn(t, path, port, alternate)
	r, err := runBrief(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
	if err != nil {
		t.Fatal(err)
	}
	if r.Mapping != nat.EndpointIndependent || r.Translated == nil || *r.Translated {
		t.Errorf("got %v, translated %v; want endpoint-independent without a translator", r.Mapping, r.Translated)
	}
	other := netip.MustParseAddr("127.0.0.2")
	found := false
	for _, o := range r.Observations {
		found = found || o.Server.Addr() == other
	}
	if !found {
		t.Errorf("no observation from the server's other address %v: %v", other, r.Observations)
	}
}

func TestFilteringFollowsFromWhoIsLetIn(t *testing.T) {
	in, out := reply{Reached: Reached{Answer: Connected}, known: true}, reply{Reached: Reached{Answer: Silent}, known: true}
	for _, c := range []struct {
		port, address reply
		want          nat.Filtering
	}{
		{in, in, nat.FilterEndpointIndependent},
		{in, out, nat.FilterAddressDependent},
		{out, out, nat.FilterAddressAndPortDependent},
		{out, reply{}, nat.FilterAddressAndPortDependent},
		{out, in, nat.FilterEndpointIndependent}, // a lost SYN
		{in, reply{}, nat.FilteringUnknown},
		{reply{}, out, nat.FilteringUnknown},
	} {
		f := filterResult{port: c.port, address: c.address}
		if got := f.filtering(); got != c.want {
			t.Errorf("port %v, address %v: got %v, want %v", c.port.Answer, c.address.Answer, got, c.want)
		}
	}
}

func TestUnsolicitedIsNamedByAnswerAndTime(t *testing.T) {
	for _, c := range []struct {
		answer   Answer
		after    time.Duration
		occupied *bool
		want     nat.Unsolicited
	}{
		{Silent, DefaultHold, nil, nat.Drop},
		{Silent, briefWait, nil, nat.UnsolicitedUnknown},
		{Refused, time.Millisecond, nil, nat.Reset},
		{Refused, time.Millisecond, new(false), nat.Reset},
		{Refused, time.Millisecond, new(true), nat.Poison},
		{Unreachable, time.Millisecond, nil, nat.Unreachable},
		{Unreachable, 6 * time.Second, nil, nat.Hold},
		{Connected, 0, nil, nat.UnsolicitedUnknown},
	} {
		f := filterResult{occupied: c.occupied}
		if got := f.unsolicited(reply{Reached: Reached{Answer: c.answer, After: c.after}, known: true}); got != c.want {
			t.Errorf("%s after %v, occupied %v: got %v, want %v", c.answer, c.after, c.occupied, got, c.want)
		}
	}
}

func TestOutlookSaysWhomOneCanMeet(t *testing.T) {
	home := peers()[1].behavior
	easy := Report{Translated: new(true), Mapping: nat.EndpointIndependent, Filtering: home.Filtering, Ports: home.Ports, PooledAddresses: 1,
		Reflexive: netip.MustParseAddrPort("198.51.100.1:4000"), Observations: make([]predict.Observation, 1)}
	random := easy
	random.Mapping, random.Ports = nat.AddressAndPortDependent, drawn(nat.Random, 64512)
	for _, c := range []struct {
		name   string
		report Report
		peer   int
		want   Outlook
	}{
		{"a home router and a public host", easy, 0, Will},
		{"two home routers", easy, 1, Will},
		{"a home router and random ports", easy, 6, May},
		{"random ports on both sides", random, 6, WillNot},
	} {
		if got := Outlooks(c.report, 100)[c.peer]; got.Outlook != c.want || got.Sentence == "" {
			t.Errorf("%s: got %+v, want %s", c.name, got, c.want)
		}
	}
	denied := easy
	denied.SimultaneousOpen = new(false)
	if got := Outlooks(denied, 100); got[1].Outlook != Will || got[2].Outlook != WillNot {
		t.Errorf("crossing refused here: got %s and %s, want it to matter only if the peer refuses it too", got[1].Outlook, got[2].Outlook)
	}
}
