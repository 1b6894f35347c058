package netlab_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"

	"golang.org/x/sys/unix"
)

func linksIn(t testing.TB, n *netlab.Namespace) string {
	t.Helper()
	var names []string
	err := n.Do(func() error {
		links, err := net.Interfaces()
		for _, l := range links {
			names = append(names, l.Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func current(t testing.TB) *netlab.Namespace {
	t.Helper()
	netlabtest.Require(t)
	n, err := netlab.Current()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestNothingAppearsInTheStartingNamespace(t *testing.T) {
	home := current(t)
	n := newNetwork(t, netlab.Auto, netlab.Link{})
	if err := netlab.Veth(n.a, "left", n.b, "right"); err != nil {
		t.Fatal(err)
	}
	if got := linksIn(t, home); got != "lo" {
		t.Errorf("links of the starting namespace: got %q, want lo", got)
	}
	if got, want := linksIn(t, n.a), "lo a0 left"; got != want {
		t.Errorf("links of a: got %q, want %q", got, want)
	}
	if names, err := os.ReadDir("/run/netns"); err == nil {
		for _, x := range names {
			t.Errorf("got a named namespace %s", x.Name())
		}
	}
}

func TestDoReturnsToTheStartingNamespace(t *testing.T) {
	home := current(t)
	n := netlabtest.Namespace(t, "a")
	inode := func() (ino uint64) {
		var s unix.Stat_t
		if err := unix.Stat("/proc/thread-self/ns/net", &s); err != nil {
			t.Error(err)
		}
		return s.Ino
	}
	var there uint64
	for range 50 {
		if err := n.Do(func() error { there = inode(); return nil }); err != nil {
			t.Fatal(err)
		}
		var here uint64
		if err := home.Do(func() error { here = inode(); return nil }); err != nil {
			t.Fatal(err)
		}
		if now := inode(); now == there || now != here {
			t.Fatalf("got namespace %d after Do, want %d", now, here)
		}
	}
	if err := n.Do(func() error { return io.ErrShortWrite }); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("got %v, want the function's own error", err)
	}
}

func TestSysctlIsOfTheNamespaceAlone(t *testing.T) {
	a, b := netlabtest.Namespace(t, "a"), netlabtest.Namespace(t, "b")
	if err := a.Sysctl("net.ipv4.ip_forward", "1"); errors.Is(err, unix.EROFS) {
		t.Skip("/proc/sys is read-only here: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[*netlab.Namespace]string{a: "1", b: "0"} {
		err := n.Do(func() error {
			got, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
			if strings.TrimSpace(string(got)) != want {
				t.Errorf("%s: got %q, want %q", n.Name(), got, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := a.Sysctl("net.ipv4.no_such_key", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("unknown key: got %v, want ErrNotExist", err)
	}
}

func TestVethCarriesWholeChecksums(t *testing.T) {
	a, b, _, _ := netlabtest.Pair(t)
	var s int
	err := b.Do(func() (err error) {
		s, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_IP)))
		if err == nil {
			err = unix.SetsockoptInt(s, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	send(t, a, netip.AddrPortFrom(netlabtest.B4, 9), 64)
	frame := make([]byte, 2048)
	if _, err := unix.Read(s, frame); err != nil {
		t.Fatal(err)
	}
	const needsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	if frame[0]&needsChecksum != 0 {
		t.Error("got a packet without its checksum")
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

func TestBridgeForwardsAtOnce(t *testing.T) {
	middle := netlabtest.Namespace(t, "switch")
	var hosts []*netlab.Namespace
	for i := range 2 {
		h := netlabtest.Namespace(t, fmt.Sprint("host", i))
		if err := netlab.Veth(h, "eth0", middle, fmt.Sprint("port", i)); err != nil {
			t.Fatal(err)
		}
		if err := h.AddAddress("eth0", netip.MustParsePrefix(fmt.Sprintf("192.168.1.%d/24", i+1))); err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	if err := netlab.Bridge(middle, "br0", "port0", "port1"); err != nil {
		t.Fatal(err)
	}
	l := listen(t, hosts[1], netip.MustParseAddr("192.168.1.2"))
	c, took, err := dial(hosts[0], l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if took.Milliseconds() > 500 {
		t.Errorf("connect: got %v, want less than a retransmission", took)
	}
}

func TestRouterForwardsBetweenLinks(t *testing.T) {
	host, router, server := netlabtest.Namespace(t, "host"), netlabtest.Namespace(t, "router"), netlabtest.Namespace(t, "server")
	steps := []error{
		netlab.Veth(host, "eth0", router, "lan"), netlab.Veth(server, "eth0", router, "wan"),
		host.AddAddress("eth0", netip.MustParsePrefix("2001:db8:1::2/64")),
		router.AddAddress("lan", netip.MustParsePrefix("2001:db8:1::1/64")),
		router.AddAddress("wan", netip.MustParsePrefix("2001:db8:2::1/64")),
		server.AddAddress("eth0", netip.MustParsePrefix("2001:db8:2::2/64")),
		host.AddRoute(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2001:db8:1::1"), "eth0"),
		server.AddRoute(netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParseAddr("2001:db8:2::1"), ""),
		server.AddRoute(netip.MustParsePrefix("203.0.113.0/24"), netip.Addr{}, "eth0"),
		router.Sysctl("net.ipv6.conf.all.forwarding", "1"),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	l := listen(t, server, netip.MustParseAddr("2001:db8:2::2"))
	c, took, err := dial(host, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if took.Milliseconds() > 500 {
		t.Errorf("connect: got %v, want less than a retransmission", took)
	}
}

func TestAClosedNamespaceIsRefused(t *testing.T) {
	netlabtest.Require(t)
	n, err := netlab.New("closed")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if err := n.Do(func() error { return nil }); err == nil {
		t.Error("Do: got no error")
	}
	if err := n.Start(exec.Command("/proc/self/exe")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Start: got %v, want ErrClosed", err)
	}
}

// roleVariable makes a re-executed test binary play a part in a test.
const roleVariable = "NETLAB_TEST_ROLE"

func reexec(t testing.TB, test, role string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+test+"$", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// TestChildrenDieWithAKilledParent has three generations: this test, a parent
// that starts a child in a namespace, and the child.
func TestChildrenDieWithAKilledParent(t *testing.T) {
	netlabtest.Require(t)
	switch os.Getenv(roleVariable) {
	case "child":
		fmt.Println(os.Getpid(), len(linksIn(t, current(t))))
		io.Copy(io.Discard, os.Stdin) // until the end
	case "parent":
		n := netlabtest.Namespace(t, "doomed")
		child := reexec(t, "TestChildrenDieWithAKilledParent", "child")
		child.Stdin, child.Stdout = os.Stdin, os.Stdout
		if err := n.Start(child); err != nil {
			t.Fatal(err)
		}
		child.Wait()
	default:
		killParent(t)
	}
}

func killParent(t *testing.T) {
	// The child holds the read end of hold and the write end of said: while it
	// lives, said has no end.
	hold, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	said, say, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	parent := reexec(t, "TestChildrenDieWithAKilledParent", "parent")
	parent.Stdin, parent.Stdout = hold, say
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	say.Close()
	lines := bufio.NewReader(said)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, links, _ := strings.Cut(strings.TrimSpace(line), " ")
	if links != "2" {
		t.Errorf("the child sees %s bytes of link names, want those of lo", links)
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	parent.Wait()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Errorf("after the parent: got %q, %v, want the end of output", rest, err)
	}
	child, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return ended(child) })
}

// ended tells whether a process has ended; the first process of a pid
// namespace, which is this one, inherits it and must reap it.
func ended(pid int) bool {
	unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return unix.Kill(pid, 0) == unix.ESRCH
}

// TestWorksWithoutTheProcOfItsPidNamespace re-executes the test into a further
// pid namespace, whose /proc it does not mount.
func TestWorksWithoutTheProcOfItsPidNamespace(t *testing.T) {
	netlabtest.Require(t)
	if os.Getenv(roleVariable) == "inside" {
		n := newNetwork(t, netlab.Packet, netlab.Link{})
		if os.Getpid() != 1 {
			t.Errorf("got pid %d, want 1", os.Getpid())
		}
		if err := n.a.Sysctl("net.ipv4.ip_forward", "1"); err != nil && !errors.Is(err, unix.EROFS) {
			t.Error(err)
		}
		echo(t, n, 1)
		return
	}
	cmd := reexec(t, "TestWorksWithoutTheProcOfItsPidNamespace", "inside")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if out, err := cmd.Output(); err != nil {
		t.Errorf("got %v\n%s", err, out)
	}
}
