package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readyWithin is how long a server may take to say that it serves.
const readyWithin = 10 * time.Second

// nodeProgram is the file that the nodes run: this very one, unless this is a test.
var nodeProgram = "/proc/self/exe"

// process is one node's program: this same binary, run through its public
// commands.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr bytes.Buffer
	done   chan struct{}
	err    error // of Wait, once done
}

// start runs a command of this binary in a node and keeps what it prints.
func (n *Network) start(node string, args ...string) (*process, error) {
	p := n.process(node, args)
	p.cmd.Stdout = &p.stdout
	if err := n.run(node, p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go p.wait()
	return p, nil
}

func (n *Network) run(node string, cmd *exec.Cmd) error {
	kernel.Lock()
	defer kernel.Unlock()
	return n.namespaces[node].Start(cmd)
}

func (n *Network) process(node string, args []string) *process {
	p := &process{name: node + " (tcppunch " + strings.Join(args, " ") + ")", done: make(chan struct{})}
	p.cmd = exec.Command(nodeProgram, args...)
	p.cmd.Args[0] = "tcppunch"
	p.cmd.Env = cleanEnvironment(os.Environ())
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is the supervisor's business
	return p
}

func (p *process) wait() {
	p.err = p.cmd.Wait()
	close(p.done)
}

// serve runs a server in a node until it prints a line with "ready: ", and
// returns what follows.
func (n *Network) serve(ctx context.Context, node string, args ...string) (p *process, ready string, err error) {
	return n.serveBy(ctx, nodeProgram, node, args...)
}

// serveBy is serve with another program than the nodes'.
func (n *Network) serveBy(ctx context.Context, program, node string, args ...string) (p *process, ready string, err error) {
	p = n.process(node, args)
	p.cmd.Path = program
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", fmt.Errorf("start %s: %w", p.name, err)
	}
	if err := n.run(node, p.cmd); err != nil {
		return nil, "", fmt.Errorf("start %s: %w", p.name, err)
	}
	lines := make(chan string, 1)
	go p.announce(out, lines)
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	select {
	case line, ok := <-lines:
		if ok {
			return p, line, nil
		}
		<-p.done
		return nil, "", p.crash("ended before it served")
	case <-ctx.Done():
		p.kill()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, "", p.crash(fmt.Sprintf("did not serve within %v", readyWithin))
		}
		return nil, "", ctx.Err()
	}
}

// announce reads a server's output to its end, and waits for it.
func (p *process) announce(out io.Reader, lines chan<- string) {
	defer p.wait()
	defer close(lines)
	scanner := bufio.NewScanner(out)
	told := false
	for scanner.Scan() {
		if _, after, ok := strings.Cut(scanner.Text(), "ready: "); ok && !told {
			lines <- strings.TrimSpace(after)
			told = true
		}
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// interrupt ends a program as Ctrl-C does, so that it writes what it still has.
func (p *process) interrupt(within time.Duration) {
	p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(within):
		p.kill()
	}
}

func (p *process) status() int { return p.cmd.ProcessState.ExitCode() }

func (p *process) crash(what string) error {
	c := &Crash{Node: p.name, What: what, Stderr: tail(p.stderr.String(), 2000)}
	if state := p.cmd.ProcessState; state != nil {
		c.Status = state.ExitCode()
	}
	return c
}

func tail(s string, n int) string {
	s = strings.TrimSpace(s)
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// passed are the variables that a node inherits. Above all it must not inherit
// flags given by TCPPUNCH_<FLAG>.
var passed = []string{"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "TZ", "TERM", "USER", "SHELL"}

func cleanEnvironment(all []string) []string {
	var clean []string
	for _, entry := range all {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(passed, name) {
			clean = append(clean, entry)
		}
	}
	return clean
}

// nodes are the processes of a trial, ended together.
type nodes struct {
	mu   sync.Mutex
	list []*process
}

func (l *nodes) add(p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, p)
}

func (l *nodes) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.list {
		p.kill()
	}
}
