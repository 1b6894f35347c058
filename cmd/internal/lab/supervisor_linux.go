package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lifeline is the descriptor in the supervisor whose end means that the
// process which the user started is gone.
const lifeline = 3

// patience is how long the supervisor may take to end after Ctrl-C.
const patience = 500 * time.Millisecond

// directoryPrefix and the starter's process id begin the name of a lab's
// temporary directory. The lab holds a lock on it as long as it lives, which
// tells more than the process id: labs may run in other pid namespaces.
const directoryPrefix = "tcppunch-lab-"

// sweep removes the temporary directories of labs that were killed before they
// could do so themselves: those that nobody holds.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), directoryPrefix+"*"))
	for _, path := range left {
		dir, err := lockDirectory(path)
		if err != nil {
			continue
		}
		os.RemoveAll(path)
		dir.Close()
	}
}

// lockDirectory opens and locks a directory, or fails at once if another
// process holds it or if it is another user's.
func lockDirectory(path string) (*os.File, error) {
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if !ownedByUser(path) {
		err = os.ErrPermission
	}
	if err == nil {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return dir, nil
}

func ownedByUser(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && int(stat.Uid) == os.Getuid()
}

// makeDirectory makes the lab's temporary directory. It gets the name that
// sweep looks for only once it is locked.
func makeDirectory() (path string, remove func(), err error) {
	made, err := os.MkdirTemp("", ".tcppunch-")
	if err != nil {
		return "", nil, fmt.Errorf("make temporary directory: %w", err)
	}
	dir, err := lockDirectory(made)
	if err != nil {
		os.Remove(made)
		return "", nil, err
	}
	name := fmt.Sprintf("%s%d-%s", directoryPrefix, os.Getpid(), strings.TrimPrefix(filepath.Base(made), ".tcppunch-"))
	path = filepath.Join(filepath.Dir(made), name)
	if err := os.Rename(made, path); err != nil {
		os.Remove(made)
		dir.Close()
		return "", nil, fmt.Errorf("make temporary directory: %w", err)
	}
	return path, func() { os.RemoveAll(path); dir.Close() }, nil
}

// enter starts the supervisor and waits for it. The thread that starts it must
// live as long as it does, since the parent-death signal follows the thread
// (prctl(2), PR_SET_PDEATHSIG).
func enter(ctx context.Context, stdout io.Writer) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sweep()
	dir, remove, err := makeDirectory()
	if err != nil {
		return err
	}
	defer remove()
	alive, hold, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer hold.Close()
	own, err := openOwnMemory()
	if err != nil {
		return err
	}
	defer own.Close()
	cmd := supervisor(dir, stdout, alive, own)
	err = cmd.Start()
	alive.Close()
	if err != nil {
		return namespacesRefused(err)
	}
	return await(ctx, cmd)
}

func supervisor(dir string, stdout io.Writer, alive, own *os.File) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{alive, own} // lifeline, starterMemory
	cmd.Env = append(os.Environ(), envSupervisor+"=1", envDirectory+"="+dir, fmt.Sprintf("%s=%d", envStarter, os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	if !mayMakeNamespaces() {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return cmd
}

// await carries Ctrl-C to the supervisor and its status back.
func await(ctx context.Context, cmd *exec.Cmd) error {
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(patience):
			cmd.Process.Kill()
		}
	}()
	err := cmd.Wait()
	close(ended)
	<-watched
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() >= 0 {
		return &Ended{Status: exit.ExitCode()}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("the lab's supervisor: %w", err)
	}
	return &Ended{}
}

// mayMakeNamespaces says whether namespaces can be made without a user
// namespace around them: CAP_SYS_ADMIN and CAP_NET_ADMIN are effective.
func mayMakeNamespaces() bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return false
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	return data[0].Effective&need == need
}

// prepare makes the fresh supervisor's world its own.
func prepare() error {
	watchLifeline()
	unix.CloseOnExec(starterMemory)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return namespacesRefused(err)
	}
	// Where an outer container hides parts of /proc, the kernel refuses a new
	// one; the old one shows other process numbers and serves otherwise.
	unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

func watchLifeline() {
	unix.CloseOnExec(lifeline)
	pipe := os.NewFile(lifeline, "lifeline")
	go func() {
		pipe.Read(make([]byte, 1)) // nothing is ever written
		os.Exit(130)
	}()
}

// namespacesRefused finds out why a namespace could not be made.
func namespacesRefused(err error) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOSPC) &&
		!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("start the lab's supervisor: %w", err)
	}
	missing, mend := whyRefused()
	return &Unavailable{Missing: missing, Mend: mend, Err: err}
}

// closed are the errors of kernels and containers that lack or forbid a part of
// the lab although they allow namespaces.
var closed = []error{unix.EPERM, unix.EACCES, unix.EROFS, unix.ENOSYS, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT}

// closedOr names a network that this machine does not let us build.
func closedOr(err error) error {
	for _, c := range closed {
		if errors.Is(err, c) {
			return &Unavailable{Missing: "this machine lacks or forbids a part of the lab's networks", Mend: "tcppunch lab doctor", Err: err}
		}
	}
	return err
}

// limits are the switches of kernels and distributions that close namespaces
// to ordinary users.
var limits = []struct{ path, closed, missing, mend string }{
	{"/proc/sys/user/max_user_namespaces", "0", "this machine allows no user namespaces", "sudo sysctl -w user.max_user_namespaces=15000"},
	{"/proc/sys/user/max_net_namespaces", "0", "this machine allows no network namespaces", "sudo sysctl -w user.max_net_namespaces=15000"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "this machine keeps user namespaces from ordinary users", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor takes the privileges from an ordinary user's namespaces", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
}

func whyRefused() (missing, mend string) {
	for _, l := range limits {
		if value, err := os.ReadFile(l.path); err == nil && strings.TrimSpace(string(value)) == l.closed {
			return l.missing, l.mend
		}
	}
	if filtered() {
		return "this process is filtered by seccomp, as in a container, and may not make namespaces",
			"start the container with --privileged, or with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
	}
	return "this machine does not let this user make namespaces", "run the command as root"
}

// filtered says whether a seccomp filter is on this process (proc(5)).
func filtered() bool {
	status, _ := os.ReadFile("/proc/self/status")
	return strings.Contains(string(status), "\nSeccomp:\t2")
}
