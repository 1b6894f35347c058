package captures

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// stages are what becomes of a window: it is read and its packets found, their
// headers are looked at, and their segments filed.
var stages = []string{"read", "look", "file"}

// BenchmarkStages says how many nanoseconds a packet takes in each stage, with
// one worker. Of each window the least time of all rounds counts, so that what
// else the machine does hardly does. The file is made by `tcppunch lab bench
// captures --write`.
func BenchmarkStages(b *testing.B) {
	name := os.Getenv("TCPPUNCH_BENCH_CAPTURE")
	if name == "" {
		b.Skip("it takes a large capture: set TCPPUNCH_BENCH_CAPTURE to one")
	}
	var least [][3]time.Duration // of each window
	packets := 0
	for b.Loop() {
		took, n := stagesOf(b, name)
		least, packets = leastOf(least, took), n
	}
	for i, stage := range stages {
		var sum time.Duration
		for _, took := range least {
			sum += took[i]
		}
		b.ReportMetric(float64(sum)/float64(packets), stage+"-ns/packet")
	}
}

func leastOf(least, took [][3]time.Duration) [][3]time.Duration {
	if least == nil {
		return took
	}
	for i := range least {
		for k := range least[i] {
			least[i][k] = min(least[i][k], took[i][k])
		}
	}
	return least
}

func stagesOf(b *testing.B, name string) (list [][3]time.Duration, packets int) {
	b.Helper()
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	r, err := NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	w, window := newWorker(&Analyzer{}), &batch{first: 1}
	for {
		start := time.Now()
		if err := r.fill(window); errors.Is(err, io.EOF) {
			return list, packets
		} else if err != nil {
			b.Fatal(err)
		}
		read := time.Now()
		w.lookAtAll(window, 1)
		looked := time.Now()
		w.fileListed(window.looks, window.lists[0])
		list = append(list, [3]time.Duration{read.Sub(start), looked.Sub(read), time.Since(looked)})
		packets += len(window.records)
	}
}
