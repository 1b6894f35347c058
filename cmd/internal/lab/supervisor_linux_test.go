package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// run runs the binary to its end.
func run(t testing.TB, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command(t), args...)
	return finish(t, cmd, stdin)
}

func finish(t testing.TB, cmd *exec.Cmd, stdin string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// running is a lab that lives until its standard input ends.
type running struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string // what it says on stderr
}

func start(t testing.TB, env []string, args ...string) *running {
	t.Helper()
	r := &running{cmd: exec.Command(command(t), args...), lines: make(chan string, 100)}
	r.cmd.Env = append(os.Environ(), env...)
	var err error
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	said, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.lines)
		for s := bufio.NewScanner(said); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	})
	return r
}

// await waits until the lab says something that matches.
func (r *running) await(t testing.TB, pattern string) []string {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	limit := time.After(10 * time.Second)
	for {
		select {
		case line, ok := <-r.lines:
			if m := wanted.FindStringSubmatch(line); m != nil {
				return m
			}
			if !ok {
				t.Fatalf("the lab ended without saying %s", pattern)
			}
		case <-limit:
			t.Fatalf("the lab did not say %s", pattern)
		}
	}
}

// leftovers are the processes of the binary and of its shells that still run.
// A namespace that nothing has a name for lives as long as a process or one of
// its descriptors holds it, so without them there is none.
func leftovers(t testing.TB, mark string) []string {
	t.Helper()
	var left []string
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range entries {
		exe, _ := os.Readlink(dir + "/exe")
		environment, _ := os.ReadFile(dir + "/environ")
		if exe == command(t) || mark != "" && bytes.Contains(environment, []byte(mark)) && exe != "" {
			line, _ := os.ReadFile(dir + "/cmdline")
			left = append(left, filepath.Base(dir)+" "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return left
}

// netNamespaces are the network namespaces that processes are in.
func netNamespaces() map[string]bool {
	found := map[string]bool{}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, l := range links {
		if name, err := os.Readlink(l); err == nil {
			found[name] = true
		}
	}
	return found
}

func TestKilledLabLeavesNothingAtAnyMoment(t *testing.T) {
	before := len(netNamespaces())
	links := interfaces(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 12 {
		mark := fmt.Sprintf("USER=mark-%d-%d", os.Getpid(), i)
		moment := time.Duration(random.IntN(400)) * time.Millisecond
		args := []string{"lab", "shell", "a"}
		if i%2 == 1 {
			args = []string{"lab", "run", "--trials", "100"}
			moment *= 4 // the length of a trial
		}
		r := start(t, []string{mark}, args...)
		<-time.After(moment) // the moment is what is tested
		victim := "the starter"
		if inner := childOf(r.cmd.Process.Pid); i%3 == 2 && inner != 0 {
			victim = "the supervisor"
			syscall.Kill(inner, syscall.SIGKILL)
		} else {
			r.cmd.Process.Kill()
		}
		r.stdin.Close()
		r.cmd.Wait()
		if !eventually(func() bool { return len(leftovers(t, mark)) == 0 }) {
			t.Errorf("%q: after killing %s at %v there are still %q", args, victim, moment, leftovers(t, mark))
		}
	}
	if !eventually(func() bool { return len(netNamespaces()) <= before }) {
		t.Errorf("%d network namespaces, before there were %d", len(netNamespaces()), before)
	}
	if got := interfaces(t); got != links {
		t.Errorf("interfaces are now %s, before they were %s", got, links)
	}
}

func interfaces(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return strings.Join(names, " ")
}

// childOf is a child of a process, 0 if it has none.
func childOf(pid int) (child int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		if n, _ := fmt.Sscan(string(b), &child); n == 1 {
			return child
		}
	}
	return 0
}

func TestInterruptEndsWithinASecondWithStatus130(t *testing.T) {
	for _, args := range [][]string{{"lab", "shell", "a"}, {"lab", "run", "--trials", "200"}, {"lab", "--no-files"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, command(t), args...)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if !eventually(func() bool { return len(leftovers(t, "")) >= 4 }) {
				t.Fatal("the lab did not start its nodes")
			}
			started := time.Now()
			cmd.Process.Signal(os.Interrupt)
			cmd.Wait()
			if took := time.Since(started); took > time.Second {
				t.Errorf("it took %v to end, want less than a second", took)
			}
			if got := cmd.ProcessState.ExitCode(); got != 130 {
				t.Errorf("got status %d, want 130", got)
			}
			if left := leftovers(t, ""); len(left) > 0 && !eventually(func() bool { return len(leftovers(t, "")) == 0 }) {
				t.Errorf("there are still %q", left)
			}
		})
	}
}

func TestShellRunsInTheNodeAndGivesItsStatus(t *testing.T) {
	script := "cat /proc/net/dev | grep -c eth0\n[ \"$(command -v tcppunch)\" ] && echo found\necho $TCPPUNCH_COORDINATOR\nexit 7\n"
	status, out, said := run(t, script, "lab", "shell", "a")
	if status != 7 {
		t.Errorf("got status %d, want the shell's 7; it said %s", status, said)
	}
	want := regexp.MustCompile(`^1\nfound\n[a-z0-9]+@192\.0\.2\.10:7770\n$`)
	if !want.MatchString(out) {
		t.Errorf("got %q, want %s", out, want)
	}
}

func TestRunningLabCanBeJoined(t *testing.T) {
	lab := start(t, nil, "lab", "shell", "a")
	pid := lab.await(t, `lab shell --lab (\d+) NODE`)[1]
	status, out, said := run(t, "cat /proc/net/dev | grep -c -e wan -e lan\nexit 5\n", "lab", "shell", "--lab", pid, "nat-b")
	if status != 5 || out != "2\n" {
		t.Errorf("got status %d and %q (%s), want 5 and the box's 2 interfaces", status, out, said)
	}
	if status, _, said := run(t, "", "lab", "shell", "--lab", pid, "nat-c"); status != 64 || !strings.Contains(said, "nat-b") {
		t.Errorf("for a wrong node: got status %d and %q, want 64 and the nodes' names", status, said)
	}
	lab.stdin.Close()
	if err := lab.cmd.Wait(); err != nil {
		t.Errorf("the lab ended with %v, want status 0", err)
	}
	if status, _, _ := run(t, "", "lab", "shell", "--lab", pid, "a"); status != 2 {
		t.Errorf("after the end: got status %d, want 2", status)
	}
}

func TestSweepSparesLabsThatRun(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	running, remove, err := makeDirectory()
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	killed := filepath.Join(os.TempDir(), directoryPrefix+"4000000-1")
	if err := os.Mkdir(killed, 0o700); err != nil {
		t.Fatal(err)
	}
	sweep()
	if _, err := os.Stat(running); err != nil {
		t.Errorf("the running lab's directory: %v, want it spared", err)
	}
	if _, err := os.Stat(killed); err == nil {
		t.Error("the killed lab's directory is still there")
	}
}

func TestMistypedWordsGetTheNearestValidOne(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"lab", "run", "--a", "linx"}, `"linux"`},
		{[]string{"lab", "run", "--b", "port=random"}, `"ports"`},
		{[]string{"lab", "run", "--b", "ports=randon"}, `"random"`},
		{[]string{"lab", "run", "--b", "linux,ports=random"}, "engine=emulated"},
		{[]string{"lab", "runn"}, `'run'`},
		{[]string{"lab", "run", "--trails", "3"}, "--trials"},
		{[]string{"lab", "shell", "c"}, "nat-a"},
		{[]string{"lab", "run", "--loss", "2"}, "0 to 1"},
		{[]string{"lab", "run", "--strategy", "simopne"}, "simopen"},
	} {
		status, _, said := run(t, "", c.args...)
		if status != 64 || !strings.Contains(said, c.want) {
			t.Errorf("%q: got status %d and %q, want 64 and %s", c.args, status, said, c.want)
		}
	}
}

func TestDoctorFindsWhatTheTestsFound(t *testing.T) {
	status, out, said := run(t, "", "lab", "doctor", "--json")
	var d struct {
		Schema string
		Ready  bool
		Checks []Check
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("%v in %q; it said %s", err, out, said)
	}
	if status != 0 || !d.Ready || len(d.Checks) < 7 || d.Schema != "tcppunch.lab-doctor/1" {
		t.Errorf("got status %d and %+v, want 0 and a machine that is ready", status, d)
	}
}

func TestClosedMachineIsNamedWithTheCommandThatMendsIt(t *testing.T) {
	const limit = "/proc/sys/user/max_net_namespaces"
	before, err := os.ReadFile(limit)
	if err != nil {
		t.Skipf("this kernel has no %s", limit)
	}
	// Only in a user namespace of its own does the limit concern nobody else.
	script := fmt.Sprintf("echo 0 > %s && exec %s lab run --json", limit, command(t))
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	status, out, said := finish(t, cmd, "")
	if strings.Contains(said, "annot create") || strings.Contains(said, "ermission denied") {
		t.Skipf("%s cannot be written here: %s", limit, said)
	}
	if status != 77 || !strings.Contains(said, "sysctl -w user.max_net_namespaces") || !strings.Contains(out, `"unavailable"`) {
		t.Errorf("got status %d, %q and %q, want 77 and the command that mends it", status, out, said)
	}
	if after, _ := os.ReadFile(limit); !bytes.Equal(before, after) {
		t.Errorf("the test changed %s", limit)
	}
}

func TestOrdinaryUserHasALab(t *testing.T) {
	if os.Getuid() != 0 || !mayMakeNamespaces() || !canBecome(65534) {
		t.Skip("only root can become another user; an ordinary user runs all tests as one")
	}
	cmd := exec.CommandContext(t.Context(), command(t), "lab", "shell", "a")
	cmd.Env = append(os.Environ(), "TMPDIR=/tmp", "HOME=/")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	status, out, said := finish(t, cmd, "grep -c eth0 /proc/net/dev; exit 4\n")
	if status != 4 || out != "1\n" {
		t.Errorf("got status %d and %q (%s), want 4 and one interface", status, out, said)
	}
}
