package lab

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestALatePeerIsMetSoonAfterItsLaunch: through boxes that reset, boxes that
// drop, and none. What must follow the later launch is one round trip for the
// SYNs and one for what was refused before.
func TestALatePeerIsMetSoonAfterItsLaunch(t *testing.T) {
	const late, limit = 50 * time.Millisecond, 60*time.Millisecond + 2*40*time.Millisecond
	for _, box := range []string{"openwrt", "linux", "public"} {
		t.Run(box, func(t *testing.T) {
			t.Parallel()
			if quickest := quickestOf(t, "--a", box, "--b", box, "--late-b", late.String(), "--trials", "3"); quickest > late+limit {
				t.Errorf("established %v after the instant, want within %v of the later launch", quickest, limit)
			}
		})
	}
}

// quickestOf runs meetings that must all connect, and says how long after the
// instant the first to stand stood: other work on this machine delays some.
func quickestOf(t *testing.T, args ...string) time.Duration {
	t.Helper()
	quickest := time.Duration(math.MaxInt64)
	for _, r := range trials(t, args...).Trials {
		switch {
		case r.Valid && !r.Established:
			t.Errorf("%q: no connection (%s)", args, word(r.Cause))
		case r.Valid:
			quickest = min(quickest, time.Duration(*r.EstablishedAfter))
		}
	}
	return quickest
}

// TestAnErrorOfTheClocksIsOvercome: 1 ms is fifty times what SYNs may miss each
// other by behind these boxes. Within the default budget it is the second round
// that connects.
func TestAnErrorOfTheClocksIsOvercome(t *testing.T) {
	for _, residual := range []string{"1ms", "-1ms"} {
		keep := filepath.Join(t.TempDir(), "kept")
		if quickest := quickestOf(t, "--a", "openwrt", "--b", "openwrt", "--delay", "0", "--residual-a", residual, "--trials", "2", "--keep", keep); quickest > time.Second {
			t.Errorf("%s: established %v after the instant, want within 1 s", residual, quickest)
		}
		checkOutcomes(t, filepath.Join(keep, "trial-001", "a.json"))
		checkOutcomes(t, filepath.Join(keep, "trial-001", "b.json"))
	}
}

// checkOutcomes wants every attempt of a meeting's report to say how it ended.
func checkOutcomes(t *testing.T, path string) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Attempts []struct{ Outcome string }
	}
	if err := json.Unmarshal(body, &report); err != nil || len(report.Attempts) == 0 {
		t.Fatalf("%s: %v, %d attempts", path, err, len(report.Attempts))
	}
	for i, a := range report.Attempts {
		if a.Outcome == "" {
			t.Errorf("%s: attempt %d of %d has no outcome", path, i+1, len(report.Attempts))
		}
	}
}

func TestWithoutUDPTheCoordinatorTellsTheTime(t *testing.T) {
	t.Parallel()
	keep := filepath.Join(t.TempDir(), "kept")
	d := trials(t, "--a", "linux,udp=drop", "--b", "openwrt,udp=drop", "--keep", keep)
	if d.Summary.Established != d.Summary.Valid {
		t.Fatalf("got %+v, want a connection", d.Summary)
	}
	body, err := os.ReadFile(filepath.Join(keep, "trial-001", "a.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		TimeSources []string `json:"time_sources"`
		Clock       struct {
			Servers []struct{ Name, Verdict string }
		}
	}
	if err := json.Unmarshal(body, &report); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(report.TimeSources, []string{"coordinator"}) {
		t.Errorf("got the time from %v, want from the coordinator alone", report.TimeSources)
	}
	for _, s := range report.Clock.Servers {
		if want := map[bool]string{true: "truechimer", false: "unreachable"}[s.Name == "coordinator"]; s.Verdict != want {
			t.Errorf("%s is %s, want %s", s.Name, s.Verdict, want)
		}
	}
}
