package timingtest

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Recording is what two machines, a and b, measured against the same servers,
// and the truth. Any estimator can be held against it.
type Recording struct {
	Network    string        `json:"network"`
	Difference time.Duration `json:"difference_ns"` // b's clock minus a's
	Limit      time.Duration `json:"limit_ns"`      // error of the best weighing of the honest servers, had no packet waited
	Public     bool          `json:"public"`        // the servers are, so that two exchanges with each are what one may have
	A          []Exchanges   `json:"a"`
	B          []Exchanges   `json:"b"`
}

// Exchanges are all of one machine with one server.
type Exchanges struct {
	Server     string        `json:"server"`
	Dispersion time.Duration `json:"dispersion_ns"` // that the server claims of its own clock
	Stamped    bool          `json:"stamped"`       // the replies, by the kernel
	// Samples are microseconds: when the request left, on the machine's clock
	// since its first one; T2 − T1 and T4 − T3 of RFC 5905 section 8.
	Samples [][3]int64 `json:"samples_us"`
}

// WriteRecordings makes a file of JSON lines, compressed by gzip.
func WriteRecordings(file string, list []Recording) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("record exchanges: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("record exchanges: %w", err)
	}
	lines := json.NewEncoder(z)
	for _, r := range list {
		if err := lines.Encode(r); err != nil {
			return fmt.Errorf("record exchanges: %w", err)
		}
	}
	return z.Close()
}

// ReadRecordings reads what WriteRecordings wrote.
func ReadRecordings(file string) ([]Recording, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read recorded exchanges: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("read recorded exchanges: %w", err)
	}
	var list []Recording
	for lines := json.NewDecoder(z); ; {
		var r Recording
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("read recorded exchanges: %w", err)
		}
		list = append(list, r)
	}
}
