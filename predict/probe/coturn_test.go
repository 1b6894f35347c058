package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A STUN server that others wrote understands our requests, and we its
// answers.
func TestObserveAgainstCoturn(t *testing.T) {
	path, err := exec.LookPath("turnserver")
	if err != nil {
		t.Skip("missing: turnserver (package coturn) in PATH")
	}
	port, alternate := freePort(t), freePort(t)
	startCoturn(t, path, port, alternate)
	server := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	held := observe(t, netip.MustParseAddrPort("127.0.0.1:0"), server, "alice")
	if held.Reflexive != endpoint(held.Conn.LocalAddr()) {
		t.Errorf("reflexive: got %v, want %v", held.Reflexive, held.Conn.LocalAddr())
	}
	if want := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), alternate); held.Other != want {
		t.Errorf("other address: got %v, want %v", held.Other, want)
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return endpoint(l.Addr()).Port()
}

// startCoturn runs a server for TCP on two loopback addresses and returns
// when it listens.
func startCoturn(t *testing.T, path string, port, alternate uint16) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	cmd := exec.CommandContext(ctx, path, "-v", "-n", "--no-cli", "--no-auth", "--no-tls", "--no-dtls",
		"--listening-ip", "127.0.0.1", "--listening-ip", "127.0.0.2", "--relay-ip", "127.0.0.1", "--relay-threads", "1",
		"--listening-port", fmt.Sprint(port), "--alt-listening-port", fmt.Sprint(alternate),
		"--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"), "--log-file", "stdout")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	drained := make(chan struct{})
	t.Cleanup(func() { cancel(); <-drained; cmd.Wait() })
	ready := make(chan struct{})
	go func() {
		defer close(drained)
		waitListening(out, fmt.Sprintf("127.0.0.1:%d", port), ready)
		io.Copy(io.Discard, out)
	}()
	select {
	case <-ready:
	case <-ctx.Done():
		t.Fatal("coturn did not listen within 20 s")
	}
}

// waitListening closes ready once the log names a TCP listener on address.
func waitListening(log io.Reader, address string, ready chan<- struct{}) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if strings.Contains(lines.Text(), "TCP listener opened") && strings.Contains(lines.Text(), address) {
			close(ready)
			return
		}
	}
}
