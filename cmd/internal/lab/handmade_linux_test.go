package lab

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// handMade is a network as somebody would make it by hand, from namespaces,
// cables and the nft program: two private networks, each behind a masquerade
// that drops what it did not ask for, and a router between them on which the
// coordinator runs. It has no time server, and nothing of it is made by this
// package.
type handMade struct {
	nodes       map[string]*netlab.Namespace
	coordinator string
	dir         string
}

const handMadeRules = `
table inet filter {
	chain input { type filter hook input priority 0; policy drop; ct state established,related accept; }
}
table ip nat {
	chain postrouting { type nat hook postrouting priority 100; oifname "wan" masquerade; }
}`

func newHandMade(t testing.TB) *handMade {
	t.Helper()
	netlabtest.Require(t)
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("the program nft is not installed")
	}
	h := &handMade{nodes: map[string]*netlab.Namespace{}, dir: t.TempDir()}
	for _, name := range []string{"a", "router-a", "middle", "router-b", "b"} {
		h.nodes[name] = netlabtest.Namespace(t, name)
	}
	h.cable(t, "a", "eth0", "10.1.0.2/24", "router-a", "lan", "10.1.0.1/24")
	h.cable(t, "b", "eth0", "10.2.0.2/24", "router-b", "lan", "10.2.0.1/24")
	h.cable(t, "router-a", "wan", "198.51.100.2/24", "middle", "to-a", "198.51.100.1/24")
	h.cable(t, "router-b", "wan", "203.0.113.2/24", "middle", "to-b", "203.0.113.1/24")
	for node, gateway := range map[string]string{"a": "10.1.0.1", "b": "10.2.0.1", "router-a": "198.51.100.1", "router-b": "203.0.113.1"} {
		must(t, h.nodes[node].AddRoute(default4, netip.MustParseAddr(gateway), ""))
	}
	for _, node := range []string{"router-a", "router-b", "middle"} {
		must(t, h.nodes[node].Sysctl("net.ipv4.ip_forward", "1"))
	}
	for _, node := range []string{"router-a", "router-b"} {
		cmd := exec.Command(nft, "-f", "-")
		cmd.Stdin = strings.NewReader(handMadeRules)
		must(t, h.nodes[node].Start(cmd))
		must(t, cmd.Wait())
	}
	h.startCoordinator(t)
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *handMade) cable(t testing.TB, a, aLink, aAddress, b, bLink, bAddress string) {
	t.Helper()
	must(t, netlab.Veth(h.nodes[a], aLink, h.nodes[b], bLink))
	must(t, h.nodes[a].AddAddress(aLink, netip.MustParsePrefix(aAddress)))
	must(t, h.nodes[b].AddAddress(bLink, netip.MustParsePrefix(bAddress)))
}

// startCoordinator runs the coordinator as its documentation says, and takes
// the address from the one line that it prints.
func (h *handMade) startCoordinator(t testing.TB) {
	t.Helper()
	cmd := exec.Command(command(t), "coordinator", "--listen", ":7770", "--advertise", "198.51.100.1", "--state", filepath.Join(h.dir, "coordinator"))
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, h.nodes["middle"].Start(cmd))
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	_, ready, ok := strings.Cut(line, "ready: ")
	if !ok {
		t.Fatalf("the coordinator printed %q", line)
	}
	h.coordinator = strings.TrimSpace(ready)
}

// side is one `tcppunch meet`.
type side struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

func (h *handMade) meet(t testing.TB, as, peer string, stdin io.Reader, extra ...string) *side {
	t.Helper()
	args := append([]string{"meet", "--as", as, "--peer", peer, "--coordinator", h.coordinator, "--at", "+500ms", "--state", filepath.Join(h.dir, as)}, extra...)
	s := &side{cmd: exec.Command(command(t), args...)}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = stdin, &s.stdout, &s.stderr
	must(t, h.nodes[as].Start(s.cmd))
	t.Cleanup(func() { s.cmd.Process.Kill() })
	return s
}

func (s *side) report(t testing.TB) (doc meetDocument) {
	t.Helper()
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%v; it said %s", err, s.stderr.String())
	}
	if err := json.Unmarshal(s.stdout.Bytes(), &doc); err != nil {
		t.Fatalf("%v in %q", err, s.stdout.String())
	}
	return doc
}

func TestPublicCommandsAloneConnectInAHandMadeNetwork(t *testing.T) {
	h := newHandMade(t)
	a := h.meet(t, "a", "b", nil, "--json", "--clock-error", "137ms")
	b := h.meet(t, "b", "a", nil, "--json", "--clock-error", "-59ms")
	for _, doc := range []meetDocument{a.report(t), b.report(t)} {
		if !doc.Established || doc.Cause != nil {
			t.Errorf("got established %v, cause %s, want a connection", doc.Established, word(doc.Cause))
		}
	}
}

func TestPipeCarriesAMegabyteEachWay(t *testing.T) {
	h := newHandMade(t)
	var sent [2][]byte
	for i := range sent {
		sent[i] = make([]byte, 1<<20)
		rand.Read(sent[i])
	}
	started := time.Now()
	a := h.meet(t, "a", "b", bytes.NewReader(sent[0]), "--pipe")
	b := h.meet(t, "b", "a", bytes.NewReader(sent[1]), "--pipe")
	for i, s := range []*side{b, a} {
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("%v; it said %s", err, s.stderr.String())
		}
		if got, want := sha256.Sum256(s.stdout.Bytes()), sha256.Sum256(sent[i]); got != want {
			t.Errorf("%d bytes arrived and are not those that were sent", s.stdout.Len())
		}
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestTheSamePortsAgainEndInAMeetingOrOneSentence: the side that closed the
// first connection remembers it for a minute (TIME-WAIT, RFC 9293 section
// 3.6.1), and its kernel lets no SYN leave for the same two endpoints.
func TestTheSamePortsAgainEndInAMeetingOrOneSentence(t *testing.T) {
	h := newHandMade(t)
	meet := func() [2]*side {
		common := []string{"--json", "--strategy", "simopen", "--timeout", "3s", "--local-port"}
		return [2]*side{h.meet(t, "a", "b", nil, append(common, "4001")...), h.meet(t, "b", "a", nil, append(common, "4002")...)}
	}
	for _, s := range meet() {
		if !s.report(t).Established {
			t.Fatal("the first meeting did not connect")
		}
	}
	connected, remembered, said := 0, 0, ""
	for _, s := range meet() {
		s.cmd.Wait()
		switch {
		case s.cmd.ProcessState.ExitCode() == 0:
			connected++
		case s.cmd.ProcessState.ExitCode() == 2 && strings.Contains(s.stdout.String(), "port-in-use") && strings.Contains(s.stderr.String(), "local port"):
			remembered++
		default:
			said += s.stderr.String()
		}
	}
	if connected != 2 && remembered == 0 {
		t.Errorf("%d sides connected, and none said that the port is in use; want both or at least one; they said %s", connected, said)
	}
}

func TestAMeetingWorksWithoutThePrivilegeToCapture(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("the program setpriv is not installed")
	}
	h := newHandMade(t)
	b := h.meet(t, "b", "a", nil, "--json")
	args := []string{"--bounding-set=-net_raw", "--inh-caps=-net_raw", command(t), "meet", "--as", "a", "--peer", "b", "--coordinator", h.coordinator,
		"--at", "+500ms", "--state", filepath.Join(h.dir, "a"), "--json"}
	a := &side{cmd: exec.Command(setpriv, args...)}
	a.cmd.Stdout, a.cmd.Stderr = &a.stdout, &a.stderr
	must(t, h.nodes["a"].Start(a.cmd))
	t.Cleanup(func() { a.cmd.Process.Kill() })
	if !a.report(t).Established || !b.report(t).Established {
		t.Error("the meeting did not connect")
	}
	if !strings.Contains(a.stderr.String(), "nothing is captured") || !strings.Contains(a.stderr.String(), "CAP_NET_RAW") {
		t.Errorf("it does not say why nothing is captured: %s", a.stderr.String())
	}
}
