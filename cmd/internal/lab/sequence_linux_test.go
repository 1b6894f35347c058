package lab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tcppunch/captures"
)

// TestNetfilterWantsARealSYNWithALaterNumberThanTheFakeOne: its connection
// tracking lets the window begin anew at a later SYN in SYN-SENT, and goes on with
// the old one at an earlier SYN (nf_conntrack_proto_tcp.c, tcp_in_window). Then
// TCP stands, since it lets SYNs pass all the same, and no data comes through.
func TestNetfilterWantsARealSYNWithALaterNumberThanTheFakeOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := trials(t, "--a", "linux", "--b", "linux", "--strategy", "fake-syn", "--timeout", "2s", "--trials", "3", "--keep", dir)
	reports, _ := filepath.Glob(filepath.Join(dir, "*", "a.json"))
	if len(reports) != len(d.Trials) {
		t.Fatalf("%d reports of %d trials", len(reports), len(d.Trials))
	}
	for _, path := range reports {
		var report meetDocument
		body, err := os.ReadFile(path)
		must(t, err)
		must(t, json.Unmarshal(body, &report))
		later := true
		for side, host := range map[string]string{"a": "192.168.1.2", "b": "192.168.2.2"} {
			numbers := numbersFrom(t, filepath.Join(filepath.Dir(path), side+".pcapng"), host)
			if len(numbers) < 2 {
				t.Fatalf("%s sent SYNs with the numbers %d, want a fake and a real one", side, numbers)
			}
			later = later && int32(numbers[1]-numbers[0]) > 0
		}
		if report.Established != later {
			t.Errorf("connected %v, both real numbers later than the fake ones %v, want the same", report.Established, later)
		}
	}
}

// numbersFrom are the sequence numbers of a host's SYNs, in their order.
func numbersFrom(t testing.TB, path, host string) (list []uint32) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	all, err := captures.Analyze([]captures.Source{{Name: path, Reader: f}}, captures.Filter{})
	must(t, err)
	for _, h := range all.Handshakes {
		for _, e := range h.Events {
			if e.Kind == captures.KindSyn && e.From.Addr().String() == host && (len(list) == 0 || list[len(list)-1] != e.Seq) {
				list = append(list, e.Seq)
			}
		}
	}
	return list
}

// TestLowTTLNeedsNoPrivilege: the kernel repeats the SYN that died.
func TestLowTTLNeedsNoPrivilege(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("the program setpriv is not installed")
	}
	h := newHandMade(t)
	var sides []*side
	for as, peer := range map[string]string{"a": "b", "b": "a"} {
		s := &side{cmd: exec.Command(setpriv, "--bounding-set=-net_raw,-net_admin", "--inh-caps=-net_raw,-net_admin", command(t),
			"meet", "--as", as, "--peer", peer, "--coordinator", h.coordinator, "--at", "+500ms", "--state", filepath.Join(h.dir, as), "--json", "--strategy", "low-ttl")}
		s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
		must(t, h.nodes[as].Start(s.cmd))
		t.Cleanup(func() { s.cmd.Process.Kill() })
		sides = append(sides, s)
	}
	sent := 0
	for _, s := range sides {
		doc := s.report(t)
		if !doc.Established {
			t.Errorf("it did not connect, cause %s", word(doc.Cause))
		}
		sent += int(*doc.SYNs)
	}
	if sent < 3 { // both that died, and one again
		t.Errorf("%d SYNs left, want 3 or 4", sent)
	}
}
