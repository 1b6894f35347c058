package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"tcppunch/predict/nat"
	"tcppunch/rawsock/netlab"
)

// Examine tries, in the supervisor, each thing that the lab uses.
func Examine() []Check {
	checks := []Check{{Name: "namespaces", OK: true, Required: true, Found: "this process has user, process, mount and network namespaces of its own"}}
	return append(checks, examineNetwork(), examineSysctl(), examineTUN(), examineNAT(), examineEvents(), examineScheduler())
}

// check fills in what trying gave.
func check(c Check, good string, err error, mend string) Check {
	if err != nil {
		c.Found, c.Mend = err.Error(), mend
		return c
	}
	c.OK, c.Found = true, good
	return c
}

func inNamespace(f func(*netlab.Namespace) error) error {
	ns, err := netlab.New("doctor")
	if err != nil {
		return err
	}
	return errors.Join(f(ns), ns.Close())
}

func examineNetwork() Check {
	err := inNamespace(func(a *netlab.Namespace) error {
		return inNamespace(func(b *netlab.Namespace) error { return netlab.Veth(a, "eth0", b, "eth0") })
	})
	return check(Check{Name: "veth", Required: true}, "namespaces can be joined by cables", err, "sudo modprobe veth")
}

func examineSysctl() Check {
	err := inNamespace(forward)
	return check(Check{Name: "sysctl", Required: true}, "namespaces can be made to forward", err,
		"start the container with --privileged, since its /proc/sys is read-only")
}

func examineTUN() Check {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return Check{Name: "tun", Found: fmt.Sprintf("open /dev/net/tun: %v; the core uses AF_PACKET instead", err), Mend: "sudo chmod 0666 /dev/net/tun"}
	}
	unix.Close(fd)
	return Check{Name: "tun", OK: true, Found: "the core can use TUN devices"}
}

func examineNAT() Check {
	err := inNamespace(func(ns *netlab.Namespace) error {
		return program(ns, Box{Engine: Netfilter, Behavior: nat.Config{Ports: nat.Random, Unsolicited: nat.Reset}}, siteA.wan)
	})
	return check(Check{Name: "netfilter", Required: true}, "nftables can masquerade and reject", err,
		"sudo modprobe -a nf_tables nft_masq nft_ct nft_reject_inet")
}

func examineEvents() Check {
	err := inNamespace(func(ns *netlab.Namespace) error {
		l, err := openConnectionLog(Node{Name: "doctor"}, ns, func(Mapping) {})
		if err != nil {
			return err
		}
		return l.close()
	})
	return check(Check{Name: "conntrack-events", Required: true}, "connection tables can be watched", err, "sudo modprobe nf_conntrack_netlink")
}

// examineScheduler asks for real time on a thread that then ends.
func examineScheduler() Check {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its policy
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
		result <- unix.SchedSetAttr(0, &attr, 0)
	}()
	return check(Check{Name: "sched-fifo"}, "the core can run in real time", <-result,
		"run the command as root (sudo tcppunch lab), or expect rare delays of some milliseconds on a busy machine")
}

// temporary is where this lab's files go until it ends.
func temporary() (string, error) {
	dir, err := os.MkdirTemp(os.Getenv(envDirectory), "lab-")
	if err != nil {
		return "", fmt.Errorf("make temporary directory: %w", err)
	}
	return dir, nil
}

// shutdown is how long a program may take to write what it has when asked to
// end.
const shutdown = 2 * time.Second
