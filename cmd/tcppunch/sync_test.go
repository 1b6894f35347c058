package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"tcppunch/timing/timingtest"
)

// timeServer runs a responder on loopback for the length of the test.
func timeServer(t *testing.T, s *timingtest.Server) string {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("responder: %v", err)
		}
	})
	return conn.LocalAddr().String()
}

// runSyncCommand runs the command line and returns its status and streams.
func runSyncCommand(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	status = run(t.Context(), append([]string{"tcppunch", "sync"}, args...), streams{in: strings.NewReader(""), out: &out, err: &talk})
	return status, out.String(), talk.String()
}

// syncDocument has the fields of the documented JSON that the tests look at.
type syncDocument struct {
	Schema    string           `json:"schema"`
	OffsetNS  *time.Duration   `json:"offset_ns"`
	BoundNS   *time.Duration   `json:"bound_ns"`
	Frequency *float64         `json:"frequency_ppm"`
	Servers   []map[string]any `json:"servers"`
	Error     *failure         `json:"error"`
}

func TestSyncPrintsTheOffsetAsJSON(t *testing.T) {
	address := timeServer(t, &timingtest.Server{Offset: time.Minute})
	status, stdout, stderr := runSyncCommand(t, "--ntp", address, "--clock-error", "-1h", "--json")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d, stderr %q", status, stderr)
	}
	var d syncDocument
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if d.Schema != "tcppunch.sync/1" || d.OffsetNS == nil || d.BoundNS == nil {
		t.Fatalf("got %s", stdout)
	}
	want := time.Hour + time.Minute
	if off := (*d.OffsetNS - want).Abs(); off > *d.BoundNS {
		t.Errorf("offset: got %v ± %v, want %v", *d.OffsetNS, *d.BoundNS, want)
	}
	for _, field := range []string{"uncertainty_ns", "delay_ns", "jitter_ns", "frequency_ppm", "stepped", "verdict", "stratum"} {
		if !strings.Contains(stdout, `"`+field+`":`) {
			t.Errorf("the field %s is missing in %s", field, stdout)
		}
	}
}

func TestSyncSaysTheOffsetInOneSentence(t *testing.T) {
	for _, c := range []struct {
		offset time.Duration
		word   string
	}{{time.Hour, " slow, ± "}, {-time.Hour, " fast, ± "}} {
		address := timeServer(t, &timingtest.Server{Offset: c.offset})
		status, stdout, _ := runSyncCommand(t, "--ntp", address, "--samples", "3")
		first, table, _ := strings.Cut(stdout, "\n")
		if status != 0 || !strings.HasPrefix(first, "this clock is ") || !strings.Contains(first, c.word) || !strings.Contains(first, " for certain") {
			t.Errorf("server %v ahead: status %d, first line %q", c.offset, status, first)
		}
		if !strings.Contains(table, address) || !strings.Contains(table, "truechimer") {
			t.Errorf("table: %s", table)
		}
	}
}

func TestSyncFailsClearly(t *testing.T) {
	silent := timeServer(t, &timingtest.Server{Silent: true})
	denied := timeServer(t, &timingtest.Server{KissCode: "DENY"})
	right, wrong := timeServer(t, &timingtest.Server{}), timeServer(t, &timingtest.Server{Offset: time.Hour})
	for _, c := range []struct {
		name   string
		args   []string
		status int
		kind   string
		says   string
	}{
		{"silence", []string{"--ntp", silent}, statusFailed, "no-answer", silent + ": no reply within 1s"},
		{"refusal", []string{"--ntp", denied}, statusFailed, "no-answer", "kiss-o'-death DENY"},
		{"contradiction", []string{"--ntp", right, "--ntp", wrong}, statusFailed, "no-majority", "contradict"},
		{"no server", []string{"--ntp", "a:b:c"}, statusUsage, "usage", `"a:b:c"`},
		{"no samples", []string{"--samples", "0"}, statusUsage, "usage", "0 samples"},
		{"mad drift", []string{"--clock-drift-ppm", "-1e6"}, statusUsage, "usage", "ppm"},
		{"argument", []string{"pool.ntp.org"}, statusUsage, "usage", "too many"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, stdout, stderr := runSyncCommand(t, append([]string{"--json"}, c.args...)...)
			var d syncDocument
			if err := json.Unmarshal([]byte(stdout), &d); err != nil || d.Error == nil {
				t.Fatalf("stdout %q: %v", stdout, err)
			}
			if status != c.status || d.Error.Kind != c.kind {
				t.Errorf("got status %d, kind %s, want %d, %s", status, d.Error.Kind, c.status, c.kind)
			}
			if !strings.Contains(d.Error.Message, c.says) || !strings.Contains(stderr, c.says) || d.Error.Hint == "" {
				t.Errorf("message %q, hint %q, stderr %q, want %q", d.Error.Message, d.Error.Hint, stderr, c.says)
			}
		})
	}
}

func TestSyncStopsWhenInterrupted(t *testing.T) {
	address := timeServer(t, &timingtest.Server{Silent: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	var out, talk bytes.Buffer
	status := run(ctx, []string{"tcppunch", "sync", "--ntp", address}, streams{in: strings.NewReader(""), out: &out, err: &talk})
	if status != statusInterrupted || time.Since(begin) > time.Second {
		t.Errorf("got status %d after %v, want %d within 1s", status, time.Since(begin), statusInterrupted)
	}
}
