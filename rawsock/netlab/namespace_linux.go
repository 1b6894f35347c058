package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// keeper is a thread inside a namespace that lives as long as the Namespace.
// Children are forked from it: Pdeathsig fires when the forking thread ends,
// not the process (prctl(2), PR_SET_PDEATHSIG).
type keeper struct {
	work chan func()
	done chan struct{}
}

// newKeeper runs enter on a fresh locked thread, which then serves work. A
// thread that has entered ends with its goroutine; the main thread cannot end,
// so it is never used.
func newKeeper(enter func() error) (*keeper, error) {
	k := &keeper{work: make(chan func()), done: make(chan struct{})}
	entered := make(chan error)
	go offMainThread(func() {
		defer close(k.done)
		err := enter()
		entered <- err
		if err != nil {
			return
		}
		for f := range k.work {
			f()
		}
	})
	return k, <-entered
}

// offMainThread runs f on a locked thread that is not the main thread and that
// ends with f.
func offMainThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		offMainThread(f)
	}()
	<-moved // holds the main thread, so that the other goroutine cannot get it
	runtime.UnlockOSThread()
}

func (k *keeper) run(f func() error) error {
	result := make(chan error, 1)
	k.work <- func() { result <- f() }
	return <-result
}

func (k *keeper) close() {
	close(k.work)
	<-k.done
}

func newNamespace(name string) (*Namespace, error) {
	n := &Namespace{name: name}
	var err error
	n.keeper, err = newKeeper(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		n.fd, err = threadNamespace()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("new namespace %s: %w", name, err)
	}
	if err := n.prepare(); err != nil {
		n.close()
		return nil, fmt.Errorf("new namespace %s: %w", name, err)
	}
	return n, nil
}

// threadNamespace opens the namespace of the calling thread. /proc/thread-self
// works also where /proc shows an outer pid namespace, numbers do not; without
// any /proc a socket knows its namespace too (SIOCGSKNS, ioctl_ns(2)).
func threadNamespace() (int, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		return fd, nil
	}
	s, serr := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if serr != nil {
		return -1, fmt.Errorf("open namespace: %w", err)
	}
	defer unix.Close(s)
	fd, serr = unix.IoctlRetInt(s, unix.SIOCGSKNS)
	if serr != nil {
		return -1, fmt.Errorf("open namespace: %w", errors.Join(err, serr))
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// defaults quieten a namespace. Without /proc/sys they stay as they are, which
// costs noise and, for addresses the kernel makes by itself, a second of DAD.
var defaults = [][2]string{
	{"net.ipv6.conf.all.disable_ipv6", "0"}, {"net.ipv6.conf.default.disable_ipv6", "0"},
	{"net.ipv6.conf.all.accept_dad", "0"}, {"net.ipv6.conf.default.accept_dad", "0"},
	{"net.ipv6.conf.all.accept_ra", "0"}, {"net.ipv6.conf.default.accept_ra", "0"},
	{"net.ipv6.conf.default.router_solicitations", "0"},
	{"net.ipv4.conf.all.rp_filter", "0"}, {"net.ipv4.conf.default.rp_filter", "0"},
}

func (n *Namespace) prepare() error {
	for _, d := range defaults {
		_ = n.sysctl(d[0], d[1])
	}
	return n.withHandle(func(h handle) error { return h.up("lo") })
}

func currentNamespace() (*Namespace, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := threadNamespace()
	if err != nil {
		return nil, err
	}
	return &Namespace{name: "current", fd: fd}, nil
}

func (n *Namespace) close() error {
	if n.fd < 0 {
		return nil
	}
	if n.keeper != nil {
		n.keeper.close()
	}
	err := unix.Close(n.fd)
	n.fd = -1
	return err
}

// errUnfinished is what Do returns when f left by runtime.Goexit, as
// testing.T.FailNow does.
var errUnfinished = errors.New("the function did not return")

func (n *Namespace) do(f func() error) error {
	result := make(chan error, 1)
	go func() { // a goroutine of its own, so that an unrestored thread dies with it
		err := errUnfinished
		defer func() { result <- err }()
		runtime.LockOSThread()
		var restored bool
		if restored, err = n.inside(f); restored {
			runtime.UnlockOSThread()
		}
	}()
	return <-result
}

func (n *Namespace) inside(f func() error) (restored bool, err error) {
	home, err := threadNamespace()
	if err != nil {
		return true, err
	}
	defer unix.Close(home)
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return true, fmt.Errorf("enter namespace %s: %w", n.name, err)
	}
	err = errUnfinished
	defer func() { restored = unix.Setns(home, unix.CLONE_NEWNET) == nil }()
	err = f()
	return false, err
}

func (n *Namespace) start(cmd *exec.Cmd) error {
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	if attr.Pdeathsig == 0 {
		attr.Pdeathsig = syscall.SIGKILL
	}
	cmd.SysProcAttr = &attr
	if n.fd < 0 {
		return fmt.Errorf("start in namespace %s: %w", n.name, os.ErrClosed)
	}
	if n.keeper == nil {
		return fmt.Errorf("start in namespace %s: only a namespace made by New has a thread to start from", n.name)
	}
	if err := n.keeper.run(cmd.Start); err != nil {
		return fmt.Errorf("start in namespace %s: %w", n.name, err)
	}
	return nil
}

// sysctl writes under /proc/sys/net, which shows the namespace of the thread
// that looks.
func (n *Namespace) sysctl(key, value string) error {
	swap := strings.NewReplacer(".", "/", "/", ".")
	path := filepath.Join("/proc/sys", swap.Replace(key))
	err := n.do(func() error {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, []byte(value))
		return err
	})
	if err != nil {
		return fmt.Errorf("set %s=%s in namespace %s: %w", key, value, n.name, err)
	}
	return nil
}
