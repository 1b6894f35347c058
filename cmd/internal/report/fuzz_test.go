package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"tcppunch/captures"
)

// FuzzRender lets whatever two files hold be drawn in all ways.
func FuzzRender(f *testing.F) {
	files, _ := filepath.Glob(filepath.Join("..", "..", "..", "..", "shared", "captures", "*", "*.pcap*"))
	var before []byte
	for _, name := range files {
		if data, err := os.ReadFile(name); err == nil && len(data) < 20_000 {
			f.Add(data, before)
			before = data
		}
	}
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		a, err := captures.AnalyzeHidden([]captures.Source{{Name: "one.pcap", Reader: bytes.NewReader(one)}, {Name: "two.pcap", Reader: bytes.NewReader(two)}},
			captures.Filter{Limit: 8}, new(captures.Pseudonyms))
		if err != nil {
			return
		}
		for _, h := range a.Handshakes {
			var picture bytes.Buffer
			if err := errors.Join(Ladder(io.Discard, h, LadderOptions{}), Mermaid(io.Discard, h), SVG(&picture, h)); err != nil {
				t.Fatal(err)
			}
			for d := xml.NewDecoder(&picture); err == nil; {
				_, err = d.Token()
			}
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			err = nil
		}
		if err := HTML(io.Discard, "t", AnalysisSections(a)...); err != nil {
			t.Fatal(err)
		}
	})
}
