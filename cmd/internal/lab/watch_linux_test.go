package lab

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestWatchShowsWhatBothKindsOfBoxesDo(t *testing.T) {
	t.Parallel()
	status, out, said := run(t, "", "lab", "watch", "--a", "dual-open-denied", "--b", "linux")
	if status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	for _, want := range []string{"crossing-dropped", "SYN_SENT2", "ESTABLISHED"} {
		if !strings.Contains(out, want) {
			t.Errorf("it showed no %s:\n%s", want, out)
		}
	}
}

func TestARunningLabCanBeWatchedAndEntered(t *testing.T) {
	t.Parallel()
	up := start(t, nil, "lab", "up", "--a", "bridge-lab", "--b", "port-restricted")
	number := up.await(t, `^lab (\d+) is up: bridge-lab × port-restricted`)[1]
	watch := exec.CommandContext(t.Context(), command(t), "lab", "watch", "--lab", number, "--json-stream")
	out, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer watch.Wait()
	defer watch.Process.Kill()
	seen := make(chan Mapping)
	go func() {
		defer close(seen)
		for d := json.NewDecoder(out); ; {
			var m Mapping
			if d.Decode(&m) != nil {
				return
			}
			select {
			case seen <- m:
			case <-t.Context().Done():
				return
			}
		}
	}()
	until := time.After(30 * time.Second)
	again := time.NewTicker(300 * time.Millisecond) // the watcher may not be there yet
	defer again.Stop()
	for boxes := map[string]bool{}; len(boxes) < 2; {
		select {
		case m := <-seen:
			boxes[m.Box] = true
		case <-again.C:
			for _, node := range []string{"a", "b"} {
				run(t, "tcppunch sync --samples 1 --coordinator $TCPPUNCH_COORDINATOR\n", "lab", "shell", "--lab", number, node)
			}
		case <-until:
			t.Fatalf("saw events of %v only", boxes)
		}
	}
}
