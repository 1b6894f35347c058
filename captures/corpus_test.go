package captures

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
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
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := Analyze([]Source{{Name: filepath.Base(name), Reader: bytes.NewReader(data)}}, Filter{})
		if err != nil {
			t.Logf("refused: %v", err)
			continue
		}
		if _, err := json.Marshal(a); err != nil {
			t.Errorf("%s: does not marshal: %v", name, err)
		}
		t.Logf("%s: %d packets %v %v %v", a.Files[0].Path, a.Files[0].Packets, a.Files[0].LinkTypes, a.Summary, a.Files[0].Problems)
	}
}
