package lab

import (
	"cmp"
	"slices"
)

// CapturesConfig says what a benchmark of capture readers reads, and how often.
type CapturesConfig struct {
	File     string        `json:"file"` // an existing capture; "" for one that is made up and removed again
	Made     CaptureConfig `json:"made"` // what it holds otherwise
	Rounds   int           `json:"rounds"`
	Patience int64         `json:"patience_ns"` // how long a reader may take
	Program  string        `json:"-"`           // this program
	Tshark   bool          `json:"-"`           // it takes minutes where the others take seconds
}

// CapturesDocument is what `lab bench captures` prints.
type CapturesDocument struct {
	Benchmark string       `json:"benchmark"`
	Machine   BenchMachine `json:"machine"`
	CapturesConfig
	Packets int              `json:"packets"`
	Bytes   int64            `json:"bytes"`
	Readers []CapturesReader `json:"readers"`
}

// CapturesReader is one way to read the file.
type CapturesReader struct {
	Name    string   `json:"reader"`
	Command []string `json:"command"`
	Elapsed []int64  `json:"elapsed_ns"` // of each round
	CutOff  bool     `json:"cut_off"`    // a round was ended when the patience was; it would have taken longer
	Median  int64    `json:"median_ns"`
	CPU     int64    `json:"cpu_ns"` // of the median round
	Memory  int64    `json:"peak_bytes"`
	// Rate is of packets per second, and Times how many times longer it took
	// than tcppunch on one processor; both of the medians.
	Rate  float64 `json:"packets_per_second"`
	Times float64 `json:"times"`
}

// capturesRival is a program and the environment it gets.
type capturesRival struct {
	name        string
	environment []string
	command     []string
}

// capturesRivals are the ways to read a file, tcppunch on one processor first.
func capturesRivals(c CapturesConfig, file string) []capturesRival {
	list := []capturesRival{
		{"tcppunch, one processor", []string{"GOMAXPROCS=1"}, []string{c.Program, "analyze", "--limit", "1", file}},
		{"tcppunch, two processors", []string{"GOMAXPROCS=2"}, []string{c.Program, "analyze", "--limit", "1", file}},
		{"tcpdump, copying", nil, []string{"tcpdump", "-r", file, "-w", "/dev/null"}},
		{"tcpdump, printing SYNs", nil, []string{"tcpdump", "-n", "-S", "-r", file, "tcp[tcpflags] & tcp-syn != 0 or (ip6 and ip6[53] & 2 != 0)"}},
		{"tcptrace", nil, []string{"tcptrace", "-n", file}},
	}
	if c.Tshark {
		list = append(list, capturesRival{"tshark, fields", nil,
			[]string{"tshark", "-n", "-r", file, "-T", "fields", "-e", "frame.number", "-e", "tcp.flags", "-e", "tcp.seq"}})
	}
	return list
}

func (r *CapturesReader) conclude(cpu []int64, packets int) {
	order := slices.SortedFunc(slices.Values(indices(len(r.Elapsed))), func(i, j int) int { return cmp.Compare(r.Elapsed[i], r.Elapsed[j]) })
	middle := order[len(order)/2]
	r.Median, r.CPU = r.Elapsed[middle], cpu[middle]
	r.Rate = float64(packets) * 1e9 / float64(r.Median)
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
