package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// trials runs `lab run --json` and reads its document.
func trials(t testing.TB, args ...string) Document {
	t.Helper()
	status, out, said := run(t, "", append([]string{"lab", "run", "--json"}, args...)...)
	var d Document
	if err := json.Unmarshal([]byte(out), &d); err != nil || status != 0 {
		t.Fatalf("lab run %q: status %d, %v; it said %s", args, status, err, said)
	}
	return d
}

// inParallel lets meetings over a distance run beside each other; where there is
// none, microseconds decide.
func inParallel(t *testing.T, delay string) {
	if delay != "0" {
		t.Parallel()
	}
}

func TestMeetingsConnectWhereTheyMust(t *testing.T) {
	for _, c := range []struct{ a, b, delay string }{
		{"linux", "linux", "20ms"},
		{"openwrt", "openwrt", "20ms"},
		{"linux-accept", "linux-accept", "20ms"},
		{"bridge-lab", "bridge-lab", "20ms"},
		{"firewall6", "firewall6", "20ms"},
		{"public", "linux", "20ms"},
		{"firewall", "openwrt", "20ms"},
		{"same-nat", "same-nat", "20ms"},
		{"linux", "linux", "0"},
		{"openwrt", "openwrt", "0"},
		{"linux-accept", "linux-accept", "0"},
		{"public", "public", "0"},
		{"port-restricted", "linux", "20ms"},
		{"cisco-asa", "seq-checked", "20ms"},
		{"linux+full-cone", "port-restricted+linux", "20ms"},
		{"firewall,engine=emulated", "unsolicited=icmp", "20ms"},
		{"unsolicited=rst", "unsolicited=rst", "0"},
		{"firewall,ttl=rewrite:64", "firewall,ttl=rewrite:64", "20ms"}, // the peers cannot tell segments by their TTL
	} {
		t.Run(c.a+" "+c.b+" "+c.delay, func(t *testing.T) {
			inParallel(t, c.delay)
			d := trials(t, "--a", c.a, "--b", c.b, "--delay", c.delay, "--trials", "2")
			if d.Summary.Valid == 0 {
				t.Skipf("this machine was too slow for every one of %d trials", d.Summary.Trials)
			}
			if d.Summary.Established != d.Summary.Valid {
				t.Errorf("%d of %d connected, causes %v", d.Summary.Established, d.Summary.Valid, d.Summary.Causes)
			}
		})
	}
}

// TestForetoldPortsMeet: the budgets are of both sides together and leave a chance
// below one in a thousand to miss.
func TestForetoldPortsMeet(t *testing.T) {
	for _, c := range []struct {
		a, b, delay string
		budget      int
	}{
		{"linux", "linux-sequential", "20ms", 24},
		{"home-sequential", "home-sequential", "20ms", 64},
		{"linux", "cellular-band-251", "20ms", 200},
		{"linux+cgn-block-512", "linux", "20ms", 300},
		{"public", "linux-random", "20ms", 100},
		{"full-cone", "symmetric", "20ms", 100},
		{"home-sequential,unsolicited=rst", "openwrt", "0", 100},
	} {
		t.Run(c.a+" "+c.b+" "+c.delay, func(t *testing.T) {
			inParallel(t, c.delay)
			d := trials(t, "--a", c.a, "--b", c.b, "--delay", c.delay, "--budget", fmt.Sprint(c.budget), "--trials", "2")
			if d.Summary.Valid == 0 {
				t.Skipf("this machine was too slow for every one of %d trials", d.Summary.Trials)
			}
			if d.Summary.Established != d.Summary.Valid {
				t.Errorf("%d of %d connected, causes %v", d.Summary.Established, d.Summary.Valid, d.Summary.Causes)
			}
			for _, r := range d.Trials {
				if r.SYNsA == nil || r.SYNsB == nil || *r.SYNsA+*r.SYNsB > int64(c.budget) {
					t.Errorf("%v and %v SYNs on the wire, the budget is %d", brief(r.SYNsA), brief(r.SYNsB), c.budget)
				}
			}
		})
	}
}

// Where the offers say that a NAT answers SYNs with resets and the path is too
// short to cross on, the first volley already dies between the NATs.
func TestNoVolleyIsLostToResetsThatOffersForetell(t *testing.T) {
	const resetting = "home-sequential,unsolicited=rst"
	inParallel(t, "0")
	d := trials(t, "--a", resetting, "--b", resetting, "--delay", "0", "--budget", "64", "--trials", "3")
	for i, r := range d.Trials {
		var report struct {
			PeerNAT struct{ Unsolicited *string } `json:"peer_nat"`
			Rounds  []struct{ Strategy string }
		}
		if err := json.Unmarshal(r.MeetA, &report); err != nil {
			t.Fatal(err)
		}
		if !r.Valid || word(report.PeerNAT.Unsolicited) != "rst" {
			t.Logf("trial %d: this machine was too slow, or to tell by the offer", i)
			continue
		}
		if !r.Established || len(report.Rounds) == 0 || report.Rounds[0].Strategy != "low-ttl" {
			t.Errorf("trial %d: established %v by %v, want low-ttl in the first round", i, r.Established, report.Rounds)
		}
	}
}

func TestTrialsTellWhatTheLabKnows(t *testing.T) {
	d := trials(t, "--trials", "3")
	onTime := func(t Trial) bool {
		return t.Valid && t.Skew != nil && time.Duration(*t.Skew).Abs() < 20*time.Millisecond
	}
	i := slices.IndexFunc(d.Trials, onTime)
	if i < 0 {
		t.Skip("this machine was too slow for every trial")
	}
	r := d.Trials[i]
	if r.Verdict == nil || *r.Verdict != "simultaneous-open" || r.Crossing == nil || !*r.Crossing {
		t.Errorf("got verdict %v, crossing %v, want a simultaneous open", r.Verdict, r.Crossing)
	}
	if r.EstablishedAfter == nil || time.Duration(*r.EstablishedAfter) < 40*time.Millisecond {
		t.Errorf("established after %v, want no less than a round trip", r.EstablishedAfter)
	}
	for _, box := range []struct {
		name string
		peer site
	}{{"nat-a", siteB}, {"nat-b", siteA}} {
		list := mappingsTowards(r.Mappings, box.name, box.peer.wan)
		if len(list) == 0 || !slices.Contains(statesOf(r.Mappings, list[0]), "SYN_SENT2") {
			t.Errorf("%s told of %+v, want a mapping that went through SYN_SENT2", box.name, list)
		}
	}
}

func TestWithoutSynchronisationResettingBoxesWin(t *testing.T) {
	d := trials(t, "--a", "openwrt", "--b", "openwrt", "--no-sync", "--retries", "0", "--trials", "2")
	for _, r := range d.Trials {
		if r.Established {
			t.Errorf("clocks 196 ms apart connected, want a failure")
		}
		if cause := word(r.Cause); cause != "clock-too-poor" && cause != "nat-reset" {
			t.Errorf("the cause is %s, want clock-too-poor or nat-reset", cause)
		}
		if r.Skew == nil || (time.Duration(*r.Skew)-196*time.Millisecond).Abs() > 60*time.Millisecond {
			t.Errorf("the first SYNs were %v apart, want the 196 ms between the clocks", brief(r.Skew))
		}
	}
}

func TestPairsThatCannotMeetSaySo(t *testing.T) {
	for _, c := range []struct{ a, b, cause string }{
		{"firewall6", "linux", "infeasible"},
		{"linux-random", "linux-random", "infeasible"},
	} {
		t.Run(c.a+" "+c.b, func(t *testing.T) {
			t.Parallel()
			d := trials(t, "--a", c.a, "--b", c.b)
			if s := d.Summary; s.Established != 0 || s.Causes[c.cause] != s.Valid || s.DiagnosisCorrect == nil || *s.DiagnosisCorrect != 1 {
				t.Errorf("got %+v, want failures because of %s", s, c.cause)
			}
		})
	}
}

func TestTheToolNamesTheTrueCause(t *testing.T) {
	for _, c := range []struct{ side, cause string }{
		{"crossing=drop", causeBlocked},
		{"crossing=rst", causeBlocked},
		{"ports=random:1024-65535,mapping=apdm", causeInfeasible},
	} {
		t.Run(c.side, func(t *testing.T) {
			t.Parallel()
			d := trials(t, "--a", c.side, "--b", c.side, "--timeout", "2s", "--strategy", "simopen", "--trials", "3")
			i := slices.IndexFunc(d.Trials, func(r Trial) bool { return r.Valid && word(r.Cause) != "launched-late" })
			if i < 0 {
				t.Skipf("this machine was too slow for every one of %d trials", len(d.Trials))
			}
			r := d.Trials[i]
			if r.Established || word(r.TrueCause) != c.cause || word(r.Cause) != c.cause {
				t.Errorf("connected %v, truly %s, the tool said %s, want %s", r.Established, word(r.TrueCause), word(r.Cause), c.cause)
			}
		})
	}
}

func TestMatrixMeasuresEveryPairAndDrawsIt(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "matrix.html")
	status, out, said := run(t, "", "lab", "matrix", "--profiles", "linux,openwrt,firewall6,port-restricted,hairpin=yes", "--trials", "2", "--json-stream", "--html", page)
	if status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var m Matrix
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Profiles) != 4 || len(m.Cells) != 10 || len(lines) != 11 || m.Profiles[3] != "port-restricted,hairpin=yes" {
		t.Errorf("got %v, %d cells and %d lines, want 4 networks, 10 cells and a line for each", m.Profiles, len(m.Cells), len(lines))
	}
	for _, c := range m.Cells {
		if c.Summary.Valid != 2 || !c.Agrees {
			t.Errorf("%s × %s: %d of %d valid trials connected, expected %v", c.A, c.B, c.Summary.Established, c.Summary.Valid, c.Expected)
		}
	}
	if s := m.Summary; s.Judged != 14 || *s.JudgementCorrect != 1 {
		t.Errorf("of %d trials the captures' verdicts are compared with the truth: %v, want those of the 14 that sent SYNs, and the same verdicts", s.Judged, s.Judgements)
	}
	if most := m.Summary.Memory; most != nil && (*most < 10<<20 || *most > 1<<30) {
		t.Errorf("the lab needed %d bytes of memory, want from 10 MiB to 1 GiB", *most)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "openwrt × port-restricted") || !strings.Contains(string(html), "<svg") {
		t.Errorf("the page: %v, %d bytes, want every pair with its ladder", err, len(html))
	}
}

func TestDemonstrationShowsAndKeepsTheCrossing(t *testing.T) {
	dir := t.TempDir()
	started := time.Now()
	cmd := exec.CommandContext(t.Context(), command(t), "lab")
	cmd.Dir = dir
	status, out, said := finish(t, cmd, "")
	if took := time.Since(started); took > 20*time.Second {
		t.Errorf("it took %v, want at most 20s", took)
	}
	if status != 0 {
		t.Fatalf("got status %d, want 0; it said %s\n%s", status, said, out)
	}
	for _, want := range []string{"SYN seq=0", "SYN-ACK", "verdict: simultaneous-open, established", "+137ms", "−59ms", "SYN_SENT2",
		"nat-a  192.168.1.2:", "nat-b  192.168.2.2:", "tcppunch-lab.pcapng", "tcppunch-lab.html"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demonstration does not show %q", want)
		}
	}
	if page, err := os.ReadFile(filepath.Join(dir, "tcppunch-lab.html")); err != nil || !strings.Contains(string(page), "<svg") {
		t.Errorf("the page has no picture (%v)", err)
	}
	packets, link, err := readCapture(filepath.Join(dir, "tcppunch-lab.pcapng"))
	if err != nil || link.Name != vantages[0].name {
		t.Fatalf("read capture: %v; the first interface is %q, want %q", err, link.Name, vantages[0].name)
	}
	seen := map[int]bool{}
	for i, p := range packets {
		seen[p.Interface] = true
		if len(p.Comments) == 0 {
			t.Errorf("packet %d has no comment", i+1)
		}
	}
	if len(seen) != len(vantages) {
		t.Errorf("the capture has packets from %d places, want %d", len(seen), len(vantages))
	}
}

func TestTsharkReadsTheDemonstrationsCapture(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	path := filepath.Join(t.TempDir(), "exchange.pcapng")
	if status, _, said := run(t, "", "lab", "--write", path, "--html", path+".html"); status != 0 {
		t.Fatalf("got status %d; it said %s", status, said)
	}
	out, err := exec.CommandContext(t.Context(), tshark, "-r", path, "-Y", "frame.comment contains \"SYN from client a\"",
		"-T", "fields", "-e", "frame.interface_name").Output()
	if err != nil {
		t.Fatal(err)
	}
	places := slices.Compact(slices.Sorted(strings.Lines(string(out))))
	if len(places) != len(vantages) {
		t.Errorf("tshark saw A's SYN at %q, want %d places", places, len(vantages))
	}
}

func TestJSONOfTheDemonstrationIsThatOfARun(t *testing.T) {
	status, out, said := run(t, "", "lab", "--json", "--no-files")
	var d struct {
		Schema string `json:"schema"`
		Document
	}
	if err := json.Unmarshal([]byte(out), &d); err != nil || status != 0 {
		t.Fatalf("status %d, %v; it said %s", status, err, said)
	}
	if d.Schema != "tcppunch.lab-run/1" || len(d.Trials) == 0 || !AsExpected(d.Document) {
		t.Errorf("got schema %q and %d trials, want a lab run's document", d.Schema, len(d.Trials))
	}
}

func TestKeptFilesBelongToTheUser(t *testing.T) {
	dir := t.TempDir()
	keep := filepath.Join(dir, "kept")
	cmd := exec.CommandContext(t.Context(), command(t), "lab", "run", "--keep", keep)
	uid := os.Getuid()
	if uid == 0 && mayMakeNamespaces() && canBecome(65534) {
		uid = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Env = append(os.Environ(), "TMPDIR=/tmp", "HOME=/")
		for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
			os.Chmod(d, 0o755)
		}
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	status, _, said := finish(t, cmd, "")
	if status != 0 {
		t.Fatalf("got status %d; it said %s", status, said)
	}
	for _, name := range []string{"a.json", "b.json", "a.pcapng", "b.pcapng", "a.log", "trial.json"} {
		info, err := os.Stat(filepath.Join(keep, "trial-001", name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := int(info.Sys().(*syscall.Stat_t).Uid); got != uid || info.Size() == 0 {
			t.Errorf("%s belongs to %d and has %d bytes, want %d and some", name, got, info.Size(), uid)
		}
	}
}

// canBecome says whether a user exists in this user namespace.
func canBecome(uid int) bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	var inside, outside, size int
	n, _ := fmt.Sscan(string(b), &inside, &outside, &size)
	return err == nil && n == 3 && uid >= inside && uid < inside+size
}
