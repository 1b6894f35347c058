package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcppunch/captures"
	"tcppunch/rawsock/netlab"
)

// loopback is a namespace with nothing but its loopback up. Without the
// privilege for it the test is run again in a user namespace; nil says that it
// has passed there.
func loopback(t *testing.T) *netlab.Namespace {
	t.Helper()
	const inside = "TCPPUNCH_TEST_INSIDE"
	n, err := netlab.New("loopback")
	if err == nil {
		t.Cleanup(func() { n.Close() })
		return n
	}
	if os.Getenv(inside) == "" {
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
		}
		var output []byte
		if output, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
		if _, ran := err.(*exec.ExitError); ran {
			t.Fatalf("in a user namespace:\n%s", output)
		}
	}
	if os.Getenv("TCPPUNCH_TEST") == "require-lab" {
		t.Fatalf("TCPPUNCH_TEST=require-lab, but a network namespace cannot be had: %v", err)
	}
	t.Skipf("a network namespace cannot be had: %v", err)
	return nil
}

// firstLine tells when something has been said.
type firstLine struct {
	text bytes.Buffer
	said chan struct{}
}

func (w *firstLine) Write(p []byte) (int, error) {
	if w.text.Len() == 0 {
		defer close(w.said)
	}
	return w.text.Write(p)
}

// captured runs a capture of loopback, calls during once it listens, and
// returns the outcome.
func captured(t *testing.T, ctx context.Context, n *netlab.Namespace, during func(), args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out bytes.Buffer
	talk := &firstLine{said: make(chan struct{})}
	done := make(chan error)
	go func() {
		done <- n.Do(func() error {
			status = run(ctx, append([]string{"tcppunch", "capture", "--interface", "lo"}, args...), streams{out: &out, err: talk})
			return nil
		})
	}()
	<-talk.said
	during()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return status, out.String(), talk.text.String()
}

// refusedDials makes two packets each: a SYN and a reset.
func refusedDials(t *testing.T, n *netlab.Namespace, count int) {
	t.Helper()
	for range count {
		err := n.Do(func() error {
			c, err := net.Dial("tcp4", "127.0.0.1:7000")
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			t.Error("the dial was not refused")
		}
	}
}

func readCapture(t *testing.T, r io.Reader) (format captures.Format, packets []captures.Packet) {
	t.Helper()
	in, err := captures.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := in.Next()
		if err == io.EOF {
			return in.Format(), packets
		}
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, p)
	}
}

func TestCaptureWritesTheFormatOfTheName(t *testing.T) {
	n := loopback(t)
	if n == nil {
		return
	}
	for name, want := range map[string]captures.Format{"x.pcapng": captures.FormatPcapNG, "x.pcap": captures.FormatPcapNano, "-": captures.FormatPcapNG} {
		path := name
		if name != "-" {
			path = filepath.Join(t.TempDir(), name)
		}
		status, stdout, stderr := captured(t, t.Context(), n, func() { refusedDials(t, n, 1) }, "--write", path, "--port", "7000", "--count", "2")
		if status != 0 || !strings.Contains(stderr, "2 packets written, 0 dropped") {
			t.Errorf("%s: got status %d, stderr %q, want 0 and both counts", name, status, stderr)
		}
		var file io.Reader = strings.NewReader(stdout)
		if name != "-" {
			file = openPrivate(t, path)
		}
		if format, packets := readCapture(t, file); format != want || len(packets) != 2 {
			t.Errorf("%s: got %v with %d packets, want %v with 2", name, format, len(packets), want)
		}
	}
}

func openPrivate(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if info, err := f.Stat(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
	return f
}

func TestCtrlCEndsACaptureWithItsFileWhole(t *testing.T) {
	n := loopback(t)
	if n == nil {
		return
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, []byte("an older file that others may read"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	status, stdout, _ := captured(t, ctx, n, func() {
		refusedDials(t, n, 20)
		interrupt()
	}, "--write", path, "--port", "7000", "--json")
	var d struct {
		Schema, File string
		Packets      int
		Drops        *int
	}
	if err := json.Unmarshal([]byte(stdout), &d); err != nil || d.Schema != "tcppunch.capture/1" || d.File != path || d.Packets != 40 || d.Drops == nil || *d.Drops != 0 {
		t.Errorf("got %s, %v, want 40 packets", stdout, err)
	}
	if status != statusInterrupted {
		t.Errorf("got status %d, want %d", status, statusInterrupted)
	}
	if _, packets := readCapture(t, openPrivate(t, path)); len(packets) != 40 {
		t.Errorf("got %d packets, want 40", len(packets))
	}
}

func TestDurationEndsACapture(t *testing.T) {
	n := loopback(t)
	if n == nil {
		return
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	start := time.Now()
	status, _, stderr := captured(t, t.Context(), n, func() {}, "--write", path, "--duration", "50ms")
	if took := time.Since(start); status != 0 || took < 50*time.Millisecond {
		t.Errorf("got status %d after %v, stderr %q, want 0 after 50ms", status, took, stderr)
	}
	readCapture(t, openPrivate(t, path))
}

func TestUnknownInterfaceLeavesTheFileAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	var talk bytes.Buffer
	status := run(t.Context(), []string{"tcppunch", "capture", "--interface", "wlan7", "--write", path}, streams{out: io.Discard, err: &talk})
	if status != statusFailed || !strings.Contains(talk.String(), `"wlan7"; there are any, `) {
		t.Errorf("got status %d, stderr %q", status, talk.String())
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file was made")
	}
}

func TestACaptureIsAnalysedAsItComes(t *testing.T) {
	n := loopback(t)
	if n == nil {
		return
	}
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	talk := &firstLine{said: make(chan struct{})}
	capture := command(t, "capture", "--interface", "lo", "--write", "-", "--port", "7000", "--count", "2")
	capture.Stdout, capture.Stderr = writing, talk
	if err := n.Do(capture.Start); err != nil {
		t.Fatal(err)
	}
	writing.Close()
	var out bytes.Buffer
	analysis := command(t, "analyze", "--json", "-")
	analysis.Stdin, analysis.Stdout = reading, &out
	if err := analysis.Start(); err != nil {
		t.Fatal(err)
	}
	reading.Close()
	<-talk.said
	refusedDials(t, n, 1)
	if err := errors.Join(capture.Wait(), analysis.Wait()); err != nil {
		t.Fatal(err)
	}
	var d captures.Analysis
	if json.Unmarshal(out.Bytes(), &d) != nil || d.Summary[captures.VerdictRefused] != 1 {
		t.Errorf("got %s, want one refused opening", &out)
	}
}
