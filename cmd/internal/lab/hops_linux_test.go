package lab

import (
	"encoding/json"
	"net/netip"
	"testing"

	"tcppunch/rawsock/netlab/netlabtest"
)

// lowTTLOf is what a client's document says of its dying SYNs.
func lowTTLOf(t testing.TB, document []byte) (ttl int, basis string) {
	t.Helper()
	var doc struct {
		LowTTL *struct {
			TTL   int    `json:"ttl"`
			Basis string `json:"basis"`
		} `json:"low_ttl"`
	}
	if err := json.Unmarshal(document, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.LowTTL == nil {
		return 0, ""
	}
	return doc.LowTTL.TTL, doc.LowTTL.Basis
}

// TestADyingSYNPassesAllNATsOfAChain: with a TTL of 2 it ends at the second box,
// which then refuses what the peer answers; the TTL that was found opens all.
func TestADyingSYNPassesAllNATsOfAChain(t *testing.T) {
	for _, c := range []struct {
		a, b string
		ttl  int
	}{
		{"dual-open-denied", "dual-open-denied", 2},
		{"linux+dual-open-denied", "dual-open-denied", 3},
		{"full-cone+dual-open-denied+dual-open-denied", "dual-open-denied", 4},
	} {
		for _, fixed := range []string{"2", "0"} {
			t.Run(c.a+" "+c.b+" "+fixed, func(t *testing.T) {
				t.Parallel()
				timeout := "2s"
				if fixed == "0" { // what comes while a busy machine adopts a connection is sent again, up to four seconds later
					timeout = "6s"
				}
				d := trials(t, "--a", c.a, "--b", c.b, "--strategy", "crafted", "--low-ttl", fixed, "--timeout", timeout, "--trials", "2")
				if d.Summary.Valid == 0 {
					t.Skipf("this machine was too slow for every one of %d trials", d.Summary.Trials)
				}
				if got, want := d.Summary.Established > 0, fixed == "0" || c.ttl == 2; got != want {
					t.Errorf("connected %v, want %v; causes %v", got, want, d.Summary.Causes)
				}
				ttl, basis := lowTTLOf(t, d.Trials[0].MeetA)
				if fixed == "0" && (ttl != c.ttl || basis != "probed") || fixed == "2" && (ttl != 2 || basis != "given") {
					t.Errorf("the report says a TTL of %d, %s, want %d", ttl, basis, c.ttl)
				}
			})
		}
	}
}

// TestADyingSYNPassesALowTTLChain: two real NATs that answer early SYNs with
// resets, on either side. With a TTL of 2 both sides' carriers still refuse, and
// only the kernel's repeated SYN can help, a second later.
func TestADyingSYNPassesALowTTLChain(t *testing.T) {
	const chain = "openwrt+openwrt"
	syns := func(fixed string) (total int64) {
		d := trials(t, "--a", chain, "--b", chain, "--strategy", "low-ttl", "--low-ttl", fixed, "--timeout", "4s", "--trials", "2")
		if d.Summary.Valid == 0 {
			t.Skipf("this machine was too slow for every one of %d trials", d.Summary.Trials)
		}
		if fixed == "0" && d.Summary.Established != d.Summary.Valid {
			t.Errorf("%d of %d connected with the TTL that was found; causes %v", d.Summary.Established, d.Summary.Valid, d.Summary.Causes)
		}
		for _, r := range d.Trials {
			if r.SYNsA != nil && r.SYNsB != nil {
				total = max(total, *r.SYNsA+*r.SYNsB)
			}
		}
		return total
	}
	if found, two := syns("0"), syns("2"); found == 0 || two <= found {
		t.Errorf("both sides sent %d SYNs with the TTL that was found, and %d with 2; want more with 2", found, two)
	}
}

// TestADyingSYNPassesARouterBeforeTheNAT: what stands before the NAT need not
// translate.
func TestADyingSYNPassesARouterBeforeTheNAT(t *testing.T) {
	h := newHandMade(t)
	h.nodes["home"] = netlabtest.Namespace(t, "home")
	h.cable(t, "home", "eth0", "10.3.0.2/24", "a", "lan", "10.3.0.1/24")
	must(t, h.nodes["home"].AddRoute(default4, netip.MustParseAddr("10.3.0.1"), ""))
	must(t, h.nodes["a"].Sysctl("net.ipv4.ip_forward", "1"))
	must(t, h.nodes["router-a"].AddRoute(netip.MustParsePrefix("10.3.0.0/24"), netip.MustParseAddr("10.1.0.2"), ""))
	home := h.meet(t, "home", "b", nil, "--json", "--strategy", "low-ttl")
	b := h.meet(t, "b", "home", nil, "--json")
	if !home.report(t).Established || !b.report(t).Established {
		t.Error("the meeting did not connect")
	}
	for s, want := range map[*side]int{home: 3, b: 2} {
		if ttl, basis := lowTTLOf(t, s.stdout.Bytes()); ttl != want || basis != "probed" {
			t.Errorf("%s: a TTL of %d, %s, want %d, probed", s.cmd.Args, ttl, basis, want)
		}
	}
}
