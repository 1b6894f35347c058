package lab

import (
	"bytes"
	"testing"

	"tcppunch/captures"
)

func TestAMadeUpCaptureHoldsWhatItSays(t *testing.T) {
	for _, classic := range []bool{true, false} {
		config := CaptureConfig{Packets: 20_000, Flows: 2000, Live: 100, Seed: 1, Classic: classic}
		var file, again bytes.Buffer
		for _, to := range []*bytes.Buffer{&file, &again} {
			if err := WriteCapture(to, config); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(file.Bytes(), again.Bytes()) {
			t.Error("one seed made two different files")
		}
		a, err := captures.Analyze([]captures.Source{{Name: "made-up", Reader: &file}}, captures.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		want := map[captures.Verdict]int{captures.VerdictThreeWay: 1800, captures.VerdictUnanswered: 120, captures.VerdictRefused: 78, captures.VerdictSimultaneousOpen: 2}
		for v, n := range want {
			if a.Summary[v] != n {
				t.Errorf("got %d of %v, want %d", a.Summary[v], v, n)
			}
		}
		if n := a.Files[0].Packets; n < 19_900 || n > 20_000 {
			t.Errorf("got %d packets, want 20000", n)
		}
	}
}
