package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// ended is what a user sees of a command that has ended.
type ended struct {
	status         int
	stdout, stderr string
}

// command is a command line to be run as a process of its own.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), asCommand+"=1")
	return c
}

// start runs a command line beside the test, which kills it at its end.
func start(t testing.TB, in io.Reader, args ...string) <-chan ended {
	t.Helper()
	c := command(t, args...)
	var out, talk bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = in, &out, &talk
	return launch(t, c, func() ended { return ended{c.ProcessState.ExitCode(), out.String(), talk.String()} })
}

func launch(t testing.TB, c *exec.Cmd, result func() ended) <-chan ended {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done, finished := make(chan ended, 1), make(chan struct{})
	go func() {
		defer close(finished)
		c.Wait()
		done <- result()
	}()
	t.Cleanup(func() {
		c.Process.Kill()
		<-finished
	})
	return done
}

// coordinator runs a coordinator on loopback and returns the string that it
// prints for --coordinator, and a function that ends it.
func coordinator(t testing.TB) (address string, stop func()) {
	t.Helper()
	c := command(t, "coordinator", "--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0", "--stun-alternate", "127.0.0.1:0", "--state", t.TempDir())
	reader, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		c.Process.Kill()
		c.Wait()
	})
	t.Cleanup(stop)
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "tcppunch coordinator ready: ")), stop
}

func meetArgs(t testing.TB, at, as, peer string, more ...string) []string {
	return append([]string{"meet", "--coordinator", at, "--as", as, "--peer", peer, "--at", "+200ms", "--state", t.TempDir()}, more...)
}

// documentOf decodes the JSON document of a command.
func documentOf(t testing.TB, e ended) (d struct {
	Schema       string
	Established  bool
	Cause        string
	PeerKey      string `json:"peer_key"`
	PeerTrust    string `json:"peer_trust"`
	Local        string
	SYNsOnWire   int            `json:"syns_on_wire"`
	Established2 *time.Duration `json:"established_after_ns"`
	Error        *struct{ Kind, Message, Hint string }
}) {
	t.Helper()
	if err := json.Unmarshal([]byte(e.stdout), &d); err != nil {
		t.Fatalf("stdout is no JSON document: %v\n%s\n%s", err, e.stdout, e.stderr)
	}
	return d
}

func TestTwoPeersMeetByName(t *testing.T) {
	at, _ := coordinator(t)
	b := start(t, nil, meetArgs(t, at, "b", "a", "--json", "--clock-error=-59ms")...)
	a := <-start(t, nil, meetArgs(t, at, "a", "b", "--json", "--clock-error=137ms")...)
	for _, e := range []ended{a, <-b} {
		if d := documentOf(t, e); e.status != statusDone || !d.Established || d.Schema != "tcppunch.meet/1" || d.PeerTrust != "first-use" || d.Error != nil {
			t.Errorf("status %d: %.600s%.600s", e.status, e.stdout, e.stderr)
		}
	}
}

func TestPipeCarriesBothWays(t *testing.T) {
	at, _ := coordinator(t)
	content := func(seed byte) []byte {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = byte(i*7+i>>8) + seed
		}
		return b
	}
	report := filepath.Join(t.TempDir(), "report.json")
	b := start(t, bytes.NewReader(content(2)), meetArgs(t, at, "b", "a", "--pipe")...)
	a := <-start(t, bytes.NewReader(content(1)), meetArgs(t, at, "a", "b", "--pipe", "--json-file", report)...)
	other := <-b
	if a.status != statusDone || other.status != statusDone {
		t.Fatalf("a: %d %s\nb: %d %s", a.status, a.stderr, other.status, other.stderr)
	}
	if sha256.Sum256([]byte(a.stdout)) != sha256.Sum256(content(2)) || sha256.Sum256([]byte(other.stdout)) != sha256.Sum256(content(1)) {
		t.Errorf("%d and %d bytes arrived, or other ones", len(a.stdout), len(other.stdout))
	}
	if body, err := os.ReadFile(report); err != nil || !json.Valid(body) {
		t.Errorf("the report file: %v", err)
	}
}

func TestKeysArePinnedOnFirstUse(t *testing.T) {
	at, _ := coordinator(t)
	stateA, stateB := t.TempDir(), t.TempDir()
	meet := func(stateB string) (a, b ended) {
		later := start(t, nil, "meet", "--coordinator", at, "--as", "b", "--peer", "a", "--at", "+200ms", "--state", stateB, "--json", "--wait", "3s")
		a = <-start(t, nil, "meet", "--coordinator", at, "--as", "a", "--peer", "b", "--at", "+200ms", "--state", stateA, "--json", "--wait", "5s")
		return a, <-later
	}
	for i, want := range []string{"first-use", "pinned"} {
		if a, _ := meet(stateB); documentOf(t, a).PeerTrust != want {
			t.Errorf("meeting %d: trust %q, want %q\n%s", i+1, documentOf(t, a).PeerTrust, want, a.stderr)
		}
	}
	// A new coordinator has forgotten who held the name: b comes back with
	// another key.
	at, _ = coordinator(t)
	a, b := meet(t.TempDir())
	if d := documentOf(t, a); a.status != statusAuthFailed || d.Cause != "auth-failed" || !strings.Contains(d.Error.Message, "pinned") {
		t.Errorf("a: status %d %s", a.status, a.stdout)
	}
	if b.status != statusAuthFailed && b.status != statusPeerAbsent { // a may have left before b asked for it
		t.Errorf("b: status %d %s", b.status, b.stdout)
	}
}

func TestBadMeetingsEndInOneSentence(t *testing.T) {
	at, _ := coordinator(t)
	_, place, _ := strings.Cut(at, "@")
	wrongKey := strings.Repeat("a", 51) + "q@" + place
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	busyPort := strconv.Itoa(busy.Addr().(*net.TCPAddr).Port)
	tests := []struct {
		name   string
		args   []string
		status int
		kind   string
		says   string
	}{
		{"a peer that never comes", meetArgs(t, at, "a1", "nobody", "--wait", "300ms"), statusPeerAbsent, "peer-absent", "did not come within"},
		{"a coordinator with another key", meetArgs(t, wrongKey, "a2", "b"), statusAuthFailed, "auth-failed", "does not have the key"},
		{"no coordinator there", meetArgs(t, strings.Split(at, "@")[0]+"@127.0.0.1:1", "a3", "b"), statusUnreachable, "unreachable", "no coordinator answers"},
		{"a coordinator without its key", meetArgs(t, place, "a4", "b"), statusUsage, "usage", "lacks its key"},
		{"an instant in the past", meetArgs(t, at, "a5", "b", "--at", "2001-02-03T04:05:06Z"), statusUsage, "usage", "lies in the past"},
		{"an instant that is none", meetArgs(t, at, "a6", "b", "--at", "soon"), statusUsage, "usage", "is not a time"},
		{"itself", meetArgs(t, at, "a7", "a7"), statusUsage, "usage", "the same name"},
		{"a name that is none", meetArgs(t, at, "a8", "b\x1b"), statusUsage, "usage", "cannot be a peer's name"},
		{"an appointment beside a coordinator", meetArgs(t, at, "a8", "127.0.0.1:9"), statusUsage, "usage", "nor TCPPUNCH_COORDINATOR"},
		{"a key that is none", meetArgs(t, at, "a9", "b@short"), statusUsage, "usage", "is not a key"},
		{"a mistyped flag", meetArgs(t, at, "a10", "b", "--buget", "3"), statusUsage, "usage", "no flag --buget"},
		{"a flag after an argument", append(meetArgs(t, at, "a11", "b"), "stray", "--json"), statusUsage, "usage", "one argument too many"},
		{"no name and no address", []string{"meet", "--peer", "b"}, statusUsage, "usage", "name a coordinator"},
		{"an appointment without a secret", []string{"meet", "--peer", "127.0.0.1:9", "--at", "2099-01-01T00:00:00Z", "--local-port", "4000"}, statusUsage, "usage", "needs --secret-file"},
		{"an appointment with an unreadable secret", []string{"meet", "--peer", "127.0.0.1:9", "--at", "2099-01-01T00:00:00Z", "--local-port", "4000", "--secret-file", "/nowhere/x"}, statusFailed, "secret", "cannot read the secret"},
		{"no coordinator's port free", []string{"coordinator", "--listen", "127.0.0.1:" + busyPort, "--state", t.TempDir()}, statusFailed, "port-in-use", "cannot listen"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := <-start(t, nil, test.args...)
			if e.status != test.status || !strings.Contains(e.stdout+e.stderr, test.says) {
				t.Errorf("status %d, want %d and %q:\n%s%s", e.status, test.status, test.says, e.stdout, e.stderr)
			}
			if test.args[0] != "meet" {
				return
			}
			e = <-start(t, nil, append([]string{"meet", "--json"}, test.args[1:]...)...)
			if d := documentOf(t, e); e.status != test.status || d.Error == nil || d.Error.Kind != test.kind {
				t.Errorf("with --json: status %d, want %d and kind %q:\n%s", e.status, test.status, test.kind, e.stdout)
			}
		})
	}
}

func TestASteppedClockIsSurvivedAndASuspensionRefused(t *testing.T) {
	meet := func(more ...string) ended {
		at, _ := coordinator(t)
		b := start(t, nil, meetArgs(t, at, "b", "a", "--json", "--timeout", "2s")...)
		a := <-start(t, nil, meetArgs(t, at, "a", "b", append(more, "--json")...)...)
		<-b
		return a
	}
	if e := meet("--disturb-step", "500ms"); e.status != statusDone || !strings.Contains(e.stdout, "the wall clock was set") {
		t.Errorf("after a step: status %d: %.600s", e.status, e.stdout)
	}
	if e := meet("--disturb-suspend", "30s"); e.status != statusClockPoor || !strings.Contains(documentOf(t, e).Error.Message, "the machine was suspended for") {
		t.Errorf("after a suspension: status %d: %.600s", e.status, e.stdout)
	}
}

func TestTwoPeersWithOneKeyRefuseToMeet(t *testing.T) {
	at, _ := coordinator(t)
	one := t.TempDir()
	<-start(t, nil, "meet", "--coordinator", at, "--as", "a", "--peer", "x", "--state", one, "--wait", "50ms") // makes the key
	body, err := os.ReadFile(filepath.Join(one, "a.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(one, "b.key"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, nil, "meet", "--coordinator", at, "--as", "b", "--peer", "a", "--state", one)
	a := <-start(t, nil, "meet", "--coordinator", at, "--as", "a", "--peer", "b", "--state", one)
	for _, e := range []ended{a, <-b} {
		if e.status != statusRefused || !strings.Contains(e.stdout, "same key") {
			t.Errorf("status %d: %.600s%.600s", e.status, e.stdout, e.stderr)
		}
	}
}

// lines is a writer that tells when a text has passed.
type lines struct {
	want string
	seen chan struct{}
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	before := strings.Contains(l.text.String(), l.want)
	l.text.Write(p)
	if !before && strings.Contains(l.text.String(), l.want) {
		close(l.seen)
	}
	return len(p), nil
}

// startUntil runs a command and returns once its talk contains a text.
func startUntil(t testing.TB, says string, args ...string) (<-chan ended, *os.Process) {
	t.Helper()
	done, process, await := begin(t, says, args...)
	await()
	return done, process
}

// begin runs a command; await returns once its talk contains a text.
func begin(t testing.TB, says string, args ...string) (done <-chan ended, p *os.Process, await func()) {
	t.Helper()
	c := command(t, args...)
	talk := &lines{want: says, seen: make(chan struct{})}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, talk
	done = launch(t, c, func() ended { return ended{c.ProcessState.ExitCode(), out.String(), talk.text.String()} })
	return done, c.Process, func() {
		t.Helper()
		select {
		case <-talk.seen:
		case e := <-done:
			t.Fatalf("the command ended before it said %q: %+v", says, e)
		case <-time.After(20 * time.Second):
			t.Fatalf("the command did not say %q", says)
		}
	}
}

func TestCoordinatorGoneWhileWaiting(t *testing.T) {
	at, stop := coordinator(t)
	done, _ := startUntil(t, "waiting for b", meetArgs(t, at, "a", "b", "--json")...)
	stop()
	e := <-done
	if d := documentOf(t, e); e.status != statusUnreachable || d.Error.Kind != "coordinator-lost" {
		t.Errorf("status %d: %.600s", e.status, e.stdout)
	}
}

func TestCoordinatorGoneAfterTheScheduleIsSurvived(t *testing.T) {
	at, stop := coordinator(t)
	args := func(as, peer string) []string {
		return append(meetArgs(t, at, as, peer, "--json"), "--at", "+1s")
	}
	b, _, bReady := begin(t, "to the instant", args("b", "a")...)
	a, _, aReady := begin(t, "to the instant", args("a", "b")...)
	aReady()
	bReady()
	stop()
	for _, e := range []ended{<-a, <-b} {
		if d := documentOf(t, e); e.status != statusDone || !d.Established {
			t.Errorf("status %d: %.600s", e.status, e.stdout)
		}
	}
}

func TestCtrlCEndsAMeeting(t *testing.T) {
	at, _ := coordinator(t)
	done, process := startUntil(t, "waiting for b", meetArgs(t, at, "a", "b")...)
	process.Signal(os.Interrupt)
	select {
	case e := <-done:
		if e.status != statusInterrupted {
			t.Errorf("status %d, want 130", e.status)
		}
	case <-time.After(time.Second):
		t.Error("the command did not end within 1 s")
	}
}

func TestPeerThatLeavesIsTold(t *testing.T) {
	at, _ := coordinator(t)
	a, _ := startUntil(t, "waiting for b", append(meetArgs(t, at, "a", "b", "--json"), "--at", "+30s")...)
	b, process := startUntil(t, "holding", append(meetArgs(t, at, "b", "a", "--json"), "--at", "+30s")...)
	process.Signal(os.Interrupt)
	<-b
	e := <-a
	if d := documentOf(t, e); e.status != statusPeerAbsent || d.Cause != "peer-absent" || !strings.Contains(d.Error.Message, "left before") {
		t.Errorf("status %d: %.600s", e.status, e.stdout)
	}
}

func TestMeetingByAppointmentNeedsNoCoordinator(t *testing.T) {
	ports := [2]int{}
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	made := <-start(t, nil, "secret")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(made.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339Nano) // a busy machine takes half a second to start two processes
	args := func(local, remote int) []string {
		return []string{"meet", "--peer", fmt.Sprintf("127.0.0.1:%d", remote), "--local-port", strconv.Itoa(local), "--at", at,
			"--secret-file", secret, "--no-sync", "--json", "--budget", "500", "--retries", "400"}
	}
	b := start(t, nil, args(ports[1], ports[0])...)
	a := <-start(t, nil, args(ports[0], ports[1])...)
	for _, e := range []ended{a, <-b} {
		if d := documentOf(t, e); e.status != statusDone || !d.Established {
			t.Errorf("status %d: %.600s%.600s", e.status, e.stdout, e.stderr)
		}
	}
}
