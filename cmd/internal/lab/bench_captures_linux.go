package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"tcppunch/captures"
)

// BenchCaptures lets this program and its rivals read one file in turns. A
// rival that is not installed is left out.
func BenchCaptures(ctx context.Context, c CapturesConfig, progress func(string)) (CapturesDocument, error) {
	file, remove, err := capturesFile(c)
	if err != nil {
		return CapturesDocument{}, err
	}
	defer remove()
	d := CapturesDocument{Benchmark: "captures", Machine: thisMachine(), CapturesConfig: c}
	if d.Packets, d.Bytes, err = countPackets(file); err != nil {
		return d, err
	}
	var list []capturesRival
	for _, r := range capturesRivals(c, file) {
		if _, err := exec.LookPath(r.command[0]); err == nil {
			list = append(list, r)
			d.Readers = append(d.Readers, CapturesReader{Name: r.name, Command: r.command})
		}
	}
	cpu := make([][]int64, len(list))
	for round := range c.Rounds {
		for i, r := range list {
			if progress != nil {
				progress(fmt.Sprintf("round %d of %d: %s", round+1, c.Rounds, r.name))
			}
			if d.Readers[i].CutOff {
				continue
			}
			if err := d.Readers[i].read(ctx, r, time.Duration(c.Patience), &cpu[i]); err != nil {
				return d, fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	for i := range d.Readers {
		d.Readers[i].conclude(cpu[i], d.Packets)
		d.Readers[i].Times = float64(d.Readers[i].Median) / float64(d.Readers[0].Median)
	}
	d.Machine.LoadAfter = load()
	return d, nil
}

// capturesFile is the file to read, and what removes it if it was made up.
func capturesFile(c CapturesConfig) (string, func(), error) {
	if c.File != "" {
		return c.File, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "tcppunch-captures-")
	if err != nil {
		return "", nil, err
	}
	remove := func() { os.RemoveAll(dir) }
	f, err := os.Create(filepath.Join(dir, "made-up.pcap"))
	if err != nil {
		remove()
		return "", nil, err
	}
	err = errors.Join(WriteCapture(f, c.Made), f.Close())
	if err != nil {
		remove()
	}
	return f.Name(), remove, err
}

// countPackets also brings the file into the page cache.
func countPackets(name string) (int, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	r, err := captures.NewReader(f)
	if err != nil {
		return 0, 0, err
	}
	for n := 0; ; n++ {
		if _, err := r.Next(); err == io.EOF {
			return n, r.Bytes(), nil
		} else if err != nil {
			return n, 0, err
		}
	}
}

// read runs a reader once, with its output thrown away.
func (r *CapturesReader) read(ctx context.Context, rival capturesRival, patience time.Duration, cpu *[]int64) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(limited, rival.command[0], rival.command[1:]...)
	cmd.Env = append(os.Environ(), rival.environment...)
	start := time.Now()
	err := cmd.Run()
	r.CutOff = limited.Err() != nil && ctx.Err() == nil
	if err != nil && !r.CutOff {
		return err
	}
	r.Elapsed = append(r.Elapsed, time.Since(start).Nanoseconds())
	*cpu = append(*cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Nanoseconds())
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.Memory = max(r.Memory, int64(usage.Maxrss)*1024)
	}
	return nil
}
