package captures

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// corpus is a folder of public captures beside the repository.
func corpus(t testing.TB) string {
	t.Helper()
	dir := filepath.Join("..", "..", "shared", "captures")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the folder of public captures is missing: %v", err)
	}
	return dir
}

func analyzeFiles(t testing.TB, names ...string) Analysis {
	t.Helper()
	var sources []Source
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources = append(sources, Source{Name: filepath.Base(name), Reader: bytes.NewReader(data)})
	}
	a, err := Analyze(sources, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEveryPublicCaptureIsReadOrRefusedWithAReason(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus(t), "*", "*.pcap*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	slow := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		a, err := Analyze([]Source{{Name: filepath.Base(name), Reader: bytes.NewReader(data)}}, Filter{})
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%s: allocated %d bytes", name, n)
		}
		if took > time.Second { // a busy machine may be slower once
			t.Logf("%s: took %v", name, took)
			slow++
		}
		if err != nil {
			t.Logf("refused: %v", err)
			continue
		}
		if _, err := json.Marshal(a); err != nil {
			t.Errorf("%s: does not marshal: %v", name, err)
		}
		t.Logf("%s: %d packets %v %v %v", a.Files[0].Path, a.Files[0].Packets, a.Files[0].LinkTypes, a.Summary, a.Files[0].Problems)
	}
	if slow > 3 {
		t.Errorf("%d of %d files took more than a second", slow, len(files))
	}
}

// tsharkCounts are the files of which tshark counts something else, and why.
var tsharkCounts = map[string]string{
	"gopacket__pcapgo__tests__be__test102.pcapng": "tshark numbers custom blocks as frames",
	"gopacket__pcapgo__tests__le__test102.pcapng": "tshark numbers custom blocks as frames",
	"gopacket__pcapgo__tests__le__test018.pcapng": "tshark numbers custom blocks as frames",
}

func TestPacketCountsAreThoseOfTsharkAndTcpdump(t *testing.T) {
	if os.Getenv("TCPPUNCH_PEERS") == "" {
		t.Skip("it runs two programs on every public capture, for half a minute: set TCPPUNCH_PEERS=1")
	}
	files, _ := filepath.Glob(filepath.Join(corpus(t), "*", "*.pcap*"))
	tools := map[string][]string{"tshark": {"-T", "fields", "-e", "frame.number"}, "tcpdump": {"-n", "--count"}}
	for tool, args := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
		compared := 0
		for _, name := range files {
			if _, explained := tsharkCounts[filepath.Base(name)]; tool == "tshark" && explained {
				continue
			}
			var out, talk bytes.Buffer
			cmd := exec.Command(tool, append(args, "-r", name)...)
			cmd.Stdout, cmd.Stderr = &out, &talk
			if err := cmd.Run(); err != nil {
				// The file is refused, or tcpdump stops at an interface of another
				// link type or snaplen, which it cannot have beside the first.
				t.Logf("%s: %s: %v: %s", filepath.Base(name), tool, err, talk.String())
				continue
			}
			compared++
			got, want := countOf(t, name), strings.Count(out.String(), "\n")
			if tool == "tcpdump" {
				number, _, _ := strings.Cut(out.String(), " ")
				want, _ = strconv.Atoi(number)
			}
			if got != want {
				t.Errorf("%s: got %d packets, %s %d", name, got, tool, want)
			}
		}
		if compared < 60 {
			t.Errorf("%s accepted only %d files", tool, compared)
		}
	}
}

func countOf(t *testing.T, name string) int {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	list, _, _ := drain(data)
	return len(list)
}
