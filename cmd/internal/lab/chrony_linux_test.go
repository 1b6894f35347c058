package lab

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// chronyRunsVariable asks for more runs than the few of an ordinary test.
const chronyRunsVariable = "TCPPUNCH_CHRONY_RUNS"

// TestSyncAgreesWithChronyd holds tcppunch sync against the time server that
// most Linux machines run. All namespaces share one clock, so that the
// injected error is the whole truth.
func TestSyncAgreesWithChronyd(t *testing.T) {
	a, b := chronyPair(t)
	binary := command(t)
	startChronyd(t, b)
	awaitChronyd(t, a, binary, netlabtest.B4)
	runs := chronyRuns(t)
	var wrongBy []time.Duration
	inside, likely := 0, 0
	for i := range runs {
		wrong := -time.Hour + 2*time.Hour*time.Duration(i)/time.Duration(max(runs-1, 1))
		server := []netip.Addr{netlabtest.B4, netlabtest.B6}[i%2]
		d, err := syncWithChronyd(a, binary, server, wrong)
		if err != nil {
			t.Fatalf("clock %v ahead, server %v: %v", wrong, server, err)
		}
		off := (d.Offset + wrong).Abs() // the truth is -wrong
		wrongBy = append(wrongBy, off)
		if off <= d.Bound {
			inside++
		}
		if off <= d.Uncertainty {
			likely++
		}
	}
	slices.Sort(wrongBy)
	p50, p95, worst := wrongBy[runs/2], wrongBy[(runs*95+99)/100-1], wrongBy[runs-1]
	t.Logf("%d runs: |error| p50 %v, p95 %v, max %v; inside the bound %d, inside the uncertainty %d", runs, p50, p95, worst, inside, likely)
	if p95 > 50*time.Microsecond {
		t.Errorf("|error| p95: got %v, want at most 50µs", p95)
	}
	if inside*100 < runs*99 {
		t.Errorf("the truth lies inside the bound in %d of %d runs, want 99 %%", inside, runs)
	}
}

func chronyRuns(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv(chronyRunsVariable)); err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return 10
	}
	return 40
}

// chronyPair skips where chronyd or the namespaces are missing.
func chronyPair(t *testing.T) (client, server *netlab.Namespace) {
	t.Helper()
	if _, err := exec.LookPath(chronyd); err != nil {
		t.Skipf("%s is not installed (package chrony)", chronyd)
	}
	client, server, _, _ = netlabtest.Pair(t)
	return client, server
}

const chronyd = "/usr/sbin/chronyd"

// startChronyd runs chronyd as a primary server that never touches the clock,
// until the test ends.
func startChronyd(t *testing.T, n *netlab.Namespace) {
	t.Helper()
	cmd := exec.Command(chronyd, "-d", "-x", "-U", "-u", "root", // no daemon, no clock control, no dropping of rights
		"local stratum 1", "allow all", "cmdport 0", "bindcmdaddress /",
		"pidfile "+filepath.Join(t.TempDir(), "chronyd.pid"))
	var talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &talk, &talk
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("chronyd said:\n%s", &talk)
		}
	})
}

// awaitChronyd asks until chronyd answers.
func awaitChronyd(t *testing.T, n *netlab.Namespace, binary string, server netip.Addr) {
	t.Helper()
	var err error
	for begin := time.Now(); time.Since(begin) < 10*time.Second; {
		if _, err = syncWithChronyd(n, binary, server, 0); err == nil {
			return
		}
	}
	t.Fatalf("chronyd does not answer: %v", err)
}

type chronyAnswer struct {
	Offset      time.Duration `json:"offset_ns"`
	Bound       time.Duration `json:"bound_ns"`
	Uncertainty time.Duration `json:"uncertainty_ns"`
}

func syncWithChronyd(n *netlab.Namespace, binary string, server netip.Addr, wrong time.Duration) (chronyAnswer, error) {
	cmd := exec.Command(binary, "sync", "--ntp", server.String(), "--clock-error", wrong.String(), "--json")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := n.Start(cmd); err != nil {
		return chronyAnswer{}, err
	}
	if err := cmd.Wait(); err != nil {
		return chronyAnswer{}, err
	}
	var d chronyAnswer
	err := json.Unmarshal(out.Bytes(), &d)
	return d, err
}
