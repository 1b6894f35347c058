package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestTheNextMeetingFindsNothingOfTheOneBefore: a box that counts gives the ports
// of the meeting before once more. Where a server still knows a connection from
// one, it takes the client a second mapping to be heard.
func TestTheNextMeetingFindsNothingOfTheOneBefore(t *testing.T) {
	t.Parallel()
	keep := t.TempDir()
	status, _, said := run(t, "", "lab", "matrix", "--profiles", "home-sequential", "--trials", "4", "--keep", keep)
	if status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	kept, err := filepath.Glob(filepath.Join(keep, "home-sequential--home-sequential", "again-*", "trial.json"))
	if err != nil || len(kept) < 3 {
		t.Fatalf("%d further trials were kept (%v), want at least 3", len(kept), err)
	}
	for _, path := range kept {
		made := map[[3]string]bool{}
		for _, m := range mappingsOfTrial(t, path) {
			if m.Change != Created || m.Protocol != "tcp" {
				continue
			}
			key := [3]string{m.Box, m.Inside.String(), m.Peer.String()}
			if made[key] {
				t.Errorf("%s: %s made another mapping from %v to %v", path, m.Box, m.Inside, m.Peer)
			}
			made[key] = true
		}
		if len(made) < 12 {
			t.Errorf("%s: %d mappings, want those of both sides' probes at least", path, len(made))
		}
	}
}

func mappingsOfTrial(t *testing.T, path string) []Mapping {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r Trial
	if err := json.Unmarshal(body, &r); err != nil || len(r.Mappings) == 0 {
		t.Fatalf("%s: %v, %d decisions", path, err, len(r.Mappings))
	}
	return r.Mappings
}
