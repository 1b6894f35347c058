package lab

import (
	"encoding/json"
	"testing"

	"tcppunch/rawsock/netlab/netlabtest"
)

// TestStrategiesConnectWhereTheyShould: each where nothing but itself, or
// nothing so simple, connects, and where the reason is the behaviour of one box.
func TestStrategiesConnectWhereTheyShould(t *testing.T) {
	limit := map[bool]string{false: "1s", true: "4s"}
	for _, c := range []struct {
		strategy, a, b, delay string
		connects              bool
	}{
		{"simopen", "linux", "linux", "20ms", true},
		{"simopen", "dual-open-denied", "dual-open-denied", "20ms", false},
		{"low-ttl", "openwrt", "openwrt", "0", true},
		{"low-ttl", "linux", "seq-checked", "20ms", true},
		{"listen", "full-cone", "linux", "20ms", true},
		{"listen", "same-nat", "same-nat", "20ms", true},
		{"reverse", "public", "linux", "20ms", true},
		{"reverse", "full-cone", "linux", "20ms", true},
		{"reverse", "linux", "linux", "20ms", false},
		{"crafted", "dual-open-denied", "dual-open-denied", "20ms", true},
		{"crafted", "linux", "linux", "20ms", false}, // conntrack takes its SYN-ACK for invalid
		{"fake-syn", "port-restricted", "port-restricted", "20ms", true},
		{"auto", "dual-open-denied", "crossing=rst", "20ms", true},
	} {
		t.Run(c.strategy+" "+c.a+" "+c.b+" "+c.delay, func(t *testing.T) {
			inParallel(t, c.delay)
			d := trials(t, "--a", c.a, "--b", c.b, "--delay", c.delay, "--strategy", c.strategy, "--timeout", limit[c.connects], "--trials", "2")
			if d.Summary.Valid == 0 {
				t.Skipf("this machine was too slow for every one of %d trials", d.Summary.Trials)
			}
			if got := d.Summary.Established > 0; got != c.connects {
				t.Errorf("connected %v, want %v; causes %v", got, c.connects, d.Summary.Causes)
			}
			if said := strategiesOf(t, d); said != "" && said != c.strategy && c.strategy != "auto" {
				t.Errorf("the report's round is %s, want %s", said, c.strategy)
			}
		})
	}
}

// strategiesOf is the strategy of A's first round, or nothing.
func strategiesOf(t testing.TB, d Document) string {
	t.Helper()
	var report struct{ Rounds []struct{ Strategy string } }
	if err := json.Unmarshal(d.Trials[0].MeetA, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Rounds) == 0 {
		return ""
	}
	return report.Rounds[0].Strategy
}

// TestAutoCraftsSoonWhereBothNATsAreKnownToRefuse: the coordinator has tried a
// crossing with either, so nobody waits until the kernel repeats a SYN, and each
// side sends four: one for every round, and one in earnest.
func TestAutoCraftsSoonWhereBothNATsAreKnownToRefuse(t *testing.T) {
	netlabtest.Require(t)
	denied := profile(t, "dual-open-denied")
	var explained []any
	for range 3 { // other work on this machine makes some launches miss
		documents, err := meetings(t.Context(), denied, denied, "auto", t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		soon := 0
		for _, d := range documents {
			if syns, _ := d["syns_on_wire"].(float64); d["established"] == true && syns <= 4 {
				soon++
			}
			explained = append(explained, d["explanation"])
		}
		if soon == len(documents) {
			return
		}
	}
	t.Errorf("no meeting of three connected with at most 4 SYNs on each side: %q", explained)
}
