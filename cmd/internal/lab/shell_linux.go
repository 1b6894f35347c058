package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Shell builds a lab with its servers and runs the user's shell in one of its
// nodes. It must be called in the supervisor. The error is *Ended with the
// shell's own status, if that is not 0.
func Shell(ctx context.Context, config Config, node string, talk io.Writer) error {
	return withCell(ctx, config, "", func(c *cell) error {
		if _, ok := c.network.Scenario.Node(node); !ok {
			return &UnknownWord{Word: node, What: "node", Valid: c.network.Scenario.nodeNames()}
		}
		door, err := c.openDoor()
		if err != nil {
			return err
		}
		defer door.close()
		fmt.Fprint(talk, c.welcome(node))
		cmd, err := c.shell(node)
		if err != nil {
			return err
		}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return shellStatus(c.runShell(ctx, node, cmd))
	})
}

func (c *cell) runShell(ctx context.Context, node string, cmd *exec.Cmd) error {
	if err := c.network.namespaces[node].Start(cmd); err != nil {
		return fmt.Errorf("start shell: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	return cmd.Wait()
}

func shellStatus(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() >= 0 {
		return &Ended{Status: exit.ExitCode()}
	}
	return err
}

func (c *cell) welcome(node string) string {
	return fmt.Sprintf("a shell in node %s of lab %s; others: %s\nTCPPUNCH_COORDINATOR=%s\njoin from another terminal: tcppunch lab shell --lab %s NODE\n",
		node, os.Getenv(envStarter), strings.Join(c.network.Scenario.nodeNames(), ", "), c.coordinatorOf(node), os.Getenv(envStarter))
}

// coordinatorOf is the coordinator's address for a node's side.
func (c *cell) coordinatorOf(node string) string {
	if strings.HasSuffix(node, "b") {
		return c.coordinatorFor(c.config.B)
	}
	return c.coordinatorFor(c.config.A)
}

// shell is the user's shell with this binary in its PATH. Besides what all
// nodes get it knows the coordinator, and by the flag's own variable, so that
// `tcppunch meet` in it needs not be told.
func (c *cell) shell(node string) (*exec.Cmd, error) {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	bin := filepath.Join(c.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, fmt.Errorf("make shell's directory: %w", err)
	}
	link := filepath.Join(bin, "tcppunch")
	if err := os.Symlink(self, link); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make shell's directory: %w", err)
	}
	program := os.Getenv("SHELL")
	if program == "" {
		program = "/bin/sh"
	}
	cmd := exec.Command(program)
	env := slices.DeleteFunc(cleanEnvironment(os.Environ()), func(e string) bool { return strings.HasPrefix(e, "PATH=") })
	cmd.Env = append(env, "PATH="+bin+":"+os.Getenv("PATH"), "TCPPUNCH_COORDINATOR="+c.coordinatorOf(node), "TCPPUNCH_LAB_NODE="+node)
	return cmd, nil
}
