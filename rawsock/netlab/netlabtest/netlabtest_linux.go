package netlabtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tcppunch/rawsock/netlab"
)

// insideVariable marks the re-executed process, so that it and whatever it
// starts from the same binary stay where they are. Its value is the user that
// started the tests.
const insideVariable = "NETLABTEST_INSIDE"

func run(m *testing.M) int {
	if starter, settled, _ := strings.Cut(os.Getenv(insideVariable), " "); starter != "" {
		root = starter == "0"
		if settled == "" {
			missing = settle()
			os.Setenv(insideVariable, starter+" settled")
		} else {
			missing = ""
		}
		return m.Run()
	}
	runtime.LockOSThread() // Pdeathsig watches the thread that starts the child
	cmd, err := startInside()
	if err != nil {
		missing = refusal(err)
		return m.Run()
	}
	return status(cmd)
}

// startInside starts this test binary again in namespaces of its own. Root
// tries without a user namespace first, since inside one there is neither
// SCHED_FIFO nor, often, /dev/net/tun.
func startInside() (*exec.Cmd, error) {
	var errs []error
	if os.Geteuid() == 0 {
		cmd := again()
		if err := cmd.Start(); err == nil {
			return cmd, nil
		} else {
			errs = append(errs, err)
		}
	}
	cmd := again()
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
	cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	return cmd, nil
}

func again() *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideVariable+"="+strconv.Itoa(os.Geteuid()))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL, // with it ends all of the pid namespace
	}
	return cmd
}

// status waits for the child, passing on the signals by which tests are ended.
func status(cmd *exec.Cmd) int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s)
		case err := <-done:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return max(exit.ExitCode(), 1)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, "netlabtest:", err)
				return 1
			}
			return 0
		}
	}
}

// settle makes the new mount namespace private, shows the new pid namespace in
// /proc where that is allowed, and tries a namespace for real.
func settle() (missing string) {
	_ = syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	_ = syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "")
	n, err := netlab.New("trial")
	if err != nil {
		return refusal(err)
	}
	n.Close()
	return ""
}

// restrictions are the variables by which systems deny user namespaces, with
// the value that does and what to do about it.
var restrictions = []struct{ file, value, mend string }{
	{"kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
	{"kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"},
	{"user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"},
}

// refusal words an error, and names the setting that most likely caused it.
func refusal(err error) string {
	reason := "network namespaces cannot be had: " + strings.ReplaceAll(err.Error(), "\n", "; ")
	if mend := restriction(os.ReadFile); mend != "" {
		reason += " (this system restricts user namespaces; " + mend + ", or run as root)"
	}
	return reason
}

func restriction(read func(string) ([]byte, error)) (mend string) {
	for _, r := range restrictions {
		b, err := read("/proc/sys/" + r.file)
		if err == nil && strings.TrimSpace(string(b)) == r.value {
			return r.mend
		}
	}
	return ""
}
