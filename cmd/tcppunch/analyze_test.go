package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tcppunch/captures"
)

// synFrame is an IPv4 packet with a TCP segment that has 20 bytes of header.
func synFrame(fromB bool, flags byte, seq, ack uint32) []byte {
	a, b := []byte{192, 0, 2, 1}, []byte{198, 51, 100, 2}
	ports := []byte{0x0f, 0xa1, 0x13, 0x89} // 4001, 5001
	if fromB {
		a, b = b, a
		ports = []byte{0x13, 0x89, 0x0f, 0xa1}
	}
	p := append([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0}, append(a, b...)...)
	p = append(p, ports...)
	p = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(p, seq), ack)
	return append(p, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
}

// crossingFile writes a simultaneous open and returns the file's name.
func crossingFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "crossing.pcapng")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := captures.NewWriter(file, captures.Interface{Name: "raw0", LinkType: captures.LinkRaw})
	if err != nil {
		t.Fatal(err)
	}
	const syn, ack = 2, 16
	frames := [][]byte{
		synFrame(false, syn, 100, 0), synFrame(true, syn, 900, 0), synFrame(false, syn|ack, 100, 901),
		synFrame(true, syn|ack, 900, 101), synFrame(false, ack, 101, 901), synFrame(true, ack, 901, 101),
	}
	for i, f := range frames {
		at := time.Unix(1_700_000_000, int64(i)*10_000_000)
		if err := w.WritePacket(captures.Packet{Time: at, Data: f}); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func runAnalyze(t *testing.T, stdin []byte, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	status = run(t.Context(), append([]string{"tcppunch", "analyze"}, args...), streams{in: bytes.NewReader(stdin), out: &out, err: &talk})
	return status, out.String(), talk.String()
}

type analyzeDocument struct {
	Schema string
	Files  []struct {
		Path     string
		CutShort bool `json:"cut_short"`
		Problems []string
	}
	Handshakes []struct {
		A, B, Verdict string
		Established   *bool
		Margin        *int64           `json:"crossing_margin_ns"`
		Events        []map[string]any `json:"events"`
		Evidence      []map[string]any `json:"evidence"`
		NAT           []any            `json:"nat"`
	}
	Summary map[string]int
	Error   *failure
}

func decodeAnalysis(t *testing.T, stdout string) (d analyzeDocument) {
	t.Helper()
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	return d
}

func TestAnalyzePrintsTheDocument(t *testing.T) {
	status, stdout, stderr := runAnalyze(t, nil, "--json", crossingFile(t))
	if status != 0 || stderr != "" {
		t.Fatalf("got status %d, stderr %q", status, stderr)
	}
	d := decodeAnalysis(t, stdout)
	if d.Schema != "tcppunch.analyze/1" || len(d.Handshakes) != 1 || d.Summary["simultaneous-open"] != 1 {
		t.Fatalf("got %s", stdout)
	}
	h := d.Handshakes[0]
	if h.A != "192.0.2.1:4001" || h.B != "198.51.100.2:5001" || h.Established == nil || !*h.Established || h.Margin == nil || *h.Margin != 20_000_000 || h.NAT == nil {
		t.Errorf("got %s", stdout)
	}
	for _, field := range []string{"file", "packet", "at", "from", "kind", "seq", "ack", "ttl"} {
		if _, ok := h.Events[0][field]; !ok {
			t.Errorf("events lack %s: %v", field, h.Events[0])
		}
	}
	for _, field := range []string{"text", "file", "packet"} {
		if _, ok := h.Evidence[0][field]; !ok {
			t.Errorf("evidence lacks %s: %v", field, h.Evidence[0])
		}
	}
}

func TestAnalyzeDrawsTheCrossing(t *testing.T) {
	status, stdout, _ := runAnalyze(t, nil, crossingFile(t))
	if status != 0 || !strings.Contains(stdout, "╳") || !strings.Contains(stdout, "openings: simultaneous-open 1; 6 packets") {
		t.Errorf("got status %d and\n%s", status, stdout)
	}
}

func TestAnalyzeSaysWhyAFileCannotBeRead(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("hello, world"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"missing": filepath.Join(t.TempDir(), "none.pcap"), "text": text, "folder": t.TempDir()} {
		status, stdout, stderr := runAnalyze(t, nil, "--json", file)
		d := decodeAnalysis(t, stdout)
		if status != statusFailed || d.Error == nil || d.Error.Kind != "unreadable" || !strings.Contains(stderr, filepath.Base(file)) {
			t.Errorf("%s: got status %d, stderr %q, stdout %s", name, status, stderr, stdout)
		}
	}
}

func TestAnalyzeJudgesWhatIsLeftOfAFileCutShort(t *testing.T) {
	data, err := os.ReadFile(crossingFile(t))
	if err != nil {
		t.Fatal(err)
	}
	status, stdout, _ := runAnalyze(t, data[:len(data)-10], "--json", "-")
	d := decodeAnalysis(t, stdout)
	if status != 0 || !d.Files[0].CutShort || len(d.Files[0].Problems) != 1 || d.Summary["simultaneous-open"] != 1 {
		t.Errorf("got status %d, %s", status, stdout)
	}
	status, _, stderr := runAnalyze(t, data[:len(data)-10], "-")
	if status != 0 || !strings.Contains(stderr, "cut short at byte") {
		t.Errorf("got status %d, stderr %q", status, stderr)
	}
}

func TestAnalyzeWithoutAnOpeningSaysSo(t *testing.T) {
	file := crossingFile(t)
	status, stdout, _ := runAnalyze(t, nil, "--port", "9", file)
	if status != statusNo || !strings.Contains(stdout, "no opening of a TCP connection") {
		t.Errorf("got status %d, %q", status, stdout)
	}
	for _, args := range [][]string{{"--port", "4001", file}, {"--host", "198.51.100.2", file}, {"--host", "::ffff:198.51.100.2", file}} {
		if status, stdout, _ := runAnalyze(t, nil, args...); status != 0 {
			t.Errorf("%v: got status %d, %q", args, status, stdout)
		}
	}
}

func TestAnalyzeRefusesAWrongCommandLine(t *testing.T) {
	for _, args := range [][]string{{}, {"--host", "example", "f"}, {"--port", "70000", "f"}, {"--port", "0", "f"}, {"--width", "-3", "f"}, {"--width", "1000000", "f"}, {"f", "--json"}} {
		if status, _, stderr := runAnalyze(t, nil, args...); status != statusUsage || stderr == "" {
			t.Errorf("%v: got status %d, stderr %q", args, status, stderr)
		}
	}
}

func TestAnalyzeSparesTheCapturesThatItReads(t *testing.T) {
	name := crossingFile(t)
	link := filepath.Join(t.TempDir(), "other name")
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(name)
	for _, flag := range []string{"--write", "--html", "--svg"} {
		for _, path := range []string{name, link, "-"} {
			status, _, stderr := runAnalyze(t, nil, flag, path, name)
			if status != statusUsage || !strings.Contains(stderr, flag) {
				t.Errorf("%s %s: got status %d, %q, want %d naming the flag", flag, path, status, stderr, statusUsage)
			}
		}
	}
	page := filepath.Join(t.TempDir(), "x")
	if status, _, stderr := runAnalyze(t, nil, "--html", page, "--svg", page, name); status != statusUsage || !strings.Contains(stderr, "--svg") {
		t.Errorf("two outputs in one file: got status %d, %q", status, stderr)
	}
	if after, _ := os.ReadFile(name); !bytes.Equal(before, after) {
		t.Errorf("the capture has %d bytes of %d left", len(after), len(before))
	}
	if status, _, stderr := runAnalyze(t, nil, "--html", os.DevNull, name); status != 0 {
		t.Errorf("a device: got status %d, %q", status, stderr)
	}
}

// endless gives a capture's beginning and then so many bytes of packets without
// interest.
type endless struct {
	head []byte
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.head) > 0 {
		n := copy(p, e.head)
		e.head = e.head[n:]
		return n, nil
	}
	if e.left <= 0 {
		return 0, io.EOF
	}
	clear(p)
	skipped := []byte{0x0a, 0, 0, 0, 0, 16, 0, 0} // a block of another type, 4 KiB long
	block := append(append(skipped, make([]byte, 4096-12)...), 0, 16, 0, 0)
	n := copy(p, block)
	e.head, e.left = block[n:], e.left-len(block)
	return n, nil
}

func TestAnalyzeKeepsStandardInputOutOfMemory(t *testing.T) {
	head, err := os.ReadFile(crossingFile(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	target := filepath.Join(t.TempDir(), "x.pcapng")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	status := run(t.Context(), []string{"tcppunch", "analyze", "--write", target, "-"}, streams{in: &endless{head, 32 << 20}, out: io.Discard, err: io.Discard})
	runtime.ReadMemStats(&after)
	if held := after.HeapSys - before.HeapSys; status != 0 || held > 24<<20 {
		t.Errorf("got status %d and %d MiB for 32 MiB on standard input", status, held>>20)
	}
	if status, stdout, _ := runAnalyze(t, nil, target); status != 0 || !strings.Contains(stdout, "simultaneous-open 1") {
		t.Errorf("got status %d, %s", status, stdout)
	}
	if left, _ := os.ReadDir(os.TempDir()); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}

func TestAnalyzeWritesPageAndPictureAndPackets(t *testing.T) {
	dir := t.TempDir()
	page, picture, packets := filepath.Join(dir, "r.html"), filepath.Join(dir, "r.svg"), filepath.Join(dir, "r.pcapng")
	data, err := os.ReadFile(crossingFile(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, []byte("of yesterday, for all to read"), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := runAnalyze(t, data, "--html", page, "--svg", picture, "--write", packets, "-"); status != 0 {
		t.Fatalf("got status %d, %s", status, stderr)
	}
	for name, want := range map[string]string{page: "</html>", picture: "</svg>", packets: "A's SYN had left before B's arrived"} {
		got, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(got, []byte(want)) {
			t.Errorf("%s lacks %q: %v", name, want, err)
		}
		if info, _ := os.Stat(name); info != nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: others can read it: %v", name, info.Mode())
		}
	}
	if status, stdout, _ := runAnalyze(t, nil, packets); status != 0 || !strings.Contains(stdout, "simultaneous-open") {
		t.Errorf("what was written reads as %q", stdout)
	}
}

func TestTsharkReadsTheCommentsThatAnalyzeWrites(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	packets := filepath.Join(t.TempDir(), "r.pcapng")
	if status, _, stderr := runAnalyze(t, nil, "--write", packets, crossingFile(t)); status != 0 {
		t.Fatalf("got status %d, %s", status, stderr)
	}
	out, err := exec.Command(tshark, "-r", packets, "-T", "fields", "-e", "frame.number", "-e", "tcp.flags.str", "-e", "frame.comment").Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "\n"); n != 6 || !strings.Contains(string(out), "A answered B's SYN") {
		t.Errorf("got %d packets:\n%s", n, out)
	}
}

func TestAnalyzeHidesAddressesInEverythingItWrites(t *testing.T) {
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"r.html", "r.svg", "r.pcapng"} {
		files = append(files, filepath.Join(dir, name))
	}
	file := crossingFile(t)
	status, stdout, stderr := runAnalyze(t, nil, "--privacy", "--json", "--host", "198.51.100.2", "--html", files[0], "--svg", files[1], "--write", files[2], file)
	d := decodeAnalysis(t, stdout)
	if status != 0 || d.Summary["simultaneous-open"] != 1 || d.Handshakes[0].B != "192.0.2.2:5001" {
		t.Fatalf("got status %d, %s, %s", status, stdout, stderr)
	}
	for _, name := range files {
		got, err := os.ReadFile(name)
		if err != nil || bytes.Contains(got, []byte("198.51.100.2")) || bytes.Contains(got, []byte{198, 51, 100, 2}) {
			t.Errorf("%s: %v, or the address is still there", name, err)
		}
	}
}

func TestAnalyzePrintsMermaid(t *testing.T) {
	status, stdout, _ := runAnalyze(t, nil, "--mermaid", crossingFile(t))
	if status != 0 || !strings.HasPrefix(stdout, "sequenceDiagram\n") || !strings.Contains(stdout, "par the SYNs cross") {
		t.Errorf("got status %d, %s", status, stdout)
	}
}

func TestAnalyzeWritesClassicPcapByTheName(t *testing.T) {
	packets := filepath.Join(t.TempDir(), "r.pcap")
	if status, _, stderr := runAnalyze(t, nil, "--write", packets, crossingFile(t)); status != 0 {
		t.Fatalf("got status %d, %s", status, stderr)
	}
	status, stdout, _ := runAnalyze(t, nil, "--json", packets)
	if status != 0 || !strings.Contains(stdout, `"pcap-nanosecond"`) {
		t.Errorf("got status %d, %s", status, stdout)
	}
}

func TestAnalyzeDrawsTheCrossingAmongOthers(t *testing.T) {
	data, err := os.ReadFile(crossingFile(t))
	if err != nil {
		t.Fatal(err)
	}
	const syn, ack = 2, 16
	var file bytes.Buffer
	file.Write(data)
	w, err := captures.NewWriter(&file, captures.Interface{Name: "raw0", LinkType: captures.LinkRaw}) // another section
	if err != nil {
		t.Fatal(err)
	}
	frames := [][]byte{synFrame(false, syn, 5000, 0), synFrame(true, syn|ack, 7000, 5001), synFrame(false, ack, 5001, 7001)}
	for i, f := range frames {
		f[21]++ // A's port, or of the answer B's
		if i == 1 {
			f[21]--
			f[23]++
		}
		if err := w.WritePacket(captures.Packet{Time: time.Unix(1_700_000_100, int64(i)*10_000_000), Data: f}); err != nil {
			t.Fatal(err)
		}
	}
	picture := filepath.Join(t.TempDir(), "r.svg")
	status, _, stderr := runAnalyze(t, file.Bytes(), "--svg", picture, "-")
	got, err := os.ReadFile(picture)
	if status != 0 || err != nil || !bytes.Contains(got, []byte("the two SYNs cross here")) || !strings.Contains(stderr, "shows opening 1 of 2, simultaneous-open") {
		t.Errorf("got status %d, %v, %q, and the picture of another opening", status, err, stderr)
	}
}
