package lab

import (
	"encoding/json"
	"testing"
	"time"

	"tcppunch/predict/probe"
	"tcppunch/rawsock/netlab/netlabtest"
)

// probed is what `tcppunch probe` says behind a profile, with the lab's
// coordinator, which has two IPv4 addresses.
func probed(t *testing.T, name string) (r probe.Report, text string) {
	t.Helper()
	netlabtest.Require(t)
	p := profile(t, name)
	c, err := newCell(t.Context(), Config{A: p, B: profile(t, "public"), Delay: 4 * time.Millisecond}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	node, err := c.network.start("a", "probe", "--json", "--coordinator", c.coordinatorFor(p))
	if err != nil {
		t.Fatal(err)
	}
	<-node.done
	if node.status() != 0 {
		t.Fatal(node.crash("failed"))
	}
	if err := json.Unmarshal(node.stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v\n%s", err, node.stdout.String())
	}
	return r, node.stdout.String()
}

func TestProbeX(t *testing.T) {
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			r, _ := probed(t, p.Name)
			b := func(v *bool) string {
				if v == nil {
					return "null"
				}
				return map[bool]string{true: "yes", false: "no"}[*v]
			}
			t.Logf("%-20s %s | %v | %v | %v | cross %s | rst %s | hair %s | %v | alg %s | %v | %d in %v %v %v", p.Name, b(r.Translated), r.Mapping, r.Filtering, r.Unsolicited,
				b(r.SimultaneousOpen), b(r.MappingSurvivesReset), b(r.Hairpinning), r.Pooling, b(r.PayloadRewritten), r.Ports.Model, r.Connections, r.Elapsed, r.Unknown, r.Ports.Posterior)
		})
	}
}
