package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tcppunch/timing/timingtest"
)

func TestWatchPrintsALineForEachUpdateAndDraws(t *testing.T) {
	address := timeServer(t, &timingtest.Server{Offset: time.Minute})
	file := filepath.Join(t.TempDir(), "offset.svg")
	status, stdout, stderr := runSyncCommand(t, "--ntp", address, "--watch", "--interval", "10ms", "--count", "4", "--svg", file)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	if status != 0 || stderr != "" || len(lines) != 4 {
		t.Fatalf("status %d, stderr %q, %d lines, want 0, none, 4:\n%s", status, stderr, len(lines), stdout)
	}
	for _, line := range lines {
		if !strings.Contains(line, " ± ") || !strings.Contains(line, "●") {
			t.Errorf("got %q, want the offset, its bound and a gauge", line)
		}
	}
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	for err == nil {
		_, err = d.Token()
	}
	if !errors.Is(err, io.EOF) || !bytes.Contains(body, []byte("<polyline")) {
		t.Errorf("the drawing: %v in %s", err, body)
	}
}

func TestWatchStreamsDocuments(t *testing.T) {
	address := timeServer(t, &timingtest.Server{Offset: time.Minute})
	_, stdout, _ := runSyncCommand(t, "--ntp", address, "--watch", "--interval", "10ms", "--count", "3", "--json-stream")
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %d lines, want 3", len(lines))
	}
	for _, line := range lines {
		var d struct {
			syncDocument
			At          time.Time
			Disturbance *string
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil || d.Schema != "tcppunch.sync/1" || d.OffsetNS == nil || d.Disturbance != nil {
			t.Errorf("%v in %s", err, line)
		}
		if off := time.Until(d.At) - time.Minute; off.Abs() > 30*time.Second {
			t.Errorf("at: got %v, want the server's time, a minute ahead", d.At)
		}
	}
}

func TestWatchWithJSONPrintsTheLastEstimate(t *testing.T) {
	address := timeServer(t, &timingtest.Server{})
	status, stdout, _ := runSyncCommand(t, "--ntp", address, "--watch", "--interval", "10ms", "--count", "3", "--json")
	var d syncDocument
	if err := json.Unmarshal([]byte(stdout), &d); status != 0 || err != nil || d.Servers[0]["samples"] != 3.0 {
		t.Errorf("status %d, %v, got %s", status, err, stdout)
	}
}

// endsAtLines ends a context when so many lines have been written.
type endsAtLines struct {
	bytes.Buffer
	lines int
	end   func()
}

func (e *endsAtLines) Write(b []byte) (int, error) {
	if e.lines -= bytes.Count(b, []byte("\n")); e.lines <= 0 {
		e.end()
	}
	return e.Buffer.Write(b)
}

func TestWatchEndsWithCtrlC(t *testing.T) {
	for name, server := range map[string]*timingtest.Server{"answering": {}, "silent": {Silent: true}} {
		address := timeServer(t, server)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := &endsAtLines{lines: 2, end: cancel}
		if server.Silent {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		file := filepath.Join(t.TempDir(), "offset.svg")
		begin := time.Now()
		var talk bytes.Buffer
		status := run(ctx, []string{"tcppunch", "sync", "--ntp", address, "--watch", "--interval", "100ms", "--svg", file}, streams{in: strings.NewReader(""), out: out, err: &talk})
		if d := time.Since(begin); status != statusInterrupted || d > time.Second {
			t.Errorf("%s: status %d after %v, want %d within 1s", name, status, d, statusInterrupted)
		}
		if _, err := os.Stat(file); (err == nil) == server.Silent {
			t.Errorf("%s: drawing: %v", name, err)
		}
	}
}

func TestWatchWithoutAnyAnswerFails(t *testing.T) {
	address := timeServer(t, &timingtest.Server{KissCode: "DENY"})
	status, stdout, stderr := runSyncCommand(t, "--ntp", address, "--watch", "--interval", "10ms", "--count", "2")
	if status != statusFailed || stdout != "" || !strings.Contains(stderr, "DENY") {
		t.Errorf("got status %d, %q, %q, want %d", status, stdout, stderr, statusFailed)
	}
}

func TestWatchRefusesFlagsThatMeanNothing(t *testing.T) {
	for _, args := range [][]string{{"--svg", "x.svg"}, {"--count", "3"}, {"--watch", "--interval", "1ms"}, {"--watch", "--count", "-1"}, {"--watch", "--json"}} {
		if status, _, stderr := runSyncCommand(t, args...); status != statusUsage {
			t.Errorf("%v: got status %d, %q, want %d", args, status, stderr, statusUsage)
		}
	}
}

func TestGaugeKeepsItsWidth(t *testing.T) {
	for _, c := range []struct{ value, bound, unit time.Duration }{{0, 1, 1}, {0, 0, 0}, {1 << 60, 1, 1}, {-1 << 60, 5, 2}, {1, 1 << 60, 3}} {
		if got := gauge(c.value, c.bound, c.unit); utf8.RuneCountInString(got) != 2*gaugeHalf+3 || !strings.Contains(got, "●") {
			t.Errorf("%+v: got %q", c, got)
		}
	}
	if got, want := gauge(0, time.Second, time.Second), "│        ├──────●──────┤        │"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
