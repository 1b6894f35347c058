package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// memoryEvery is how often the processes' memory is looked at, which takes some
// 15 ms of a processor with fifty processes.
const memoryEvery = 2 * time.Second

// starterMemory is the descriptor in the supervisor by which it sees the memory
// of the process that the user started, which its /proc does not show.
const starterMemory = 4

// openOwnMemory opens this process's sums for others to read.
func openOwnMemory() (*os.File, error) {
	f, err := os.Open("/proc/self/smaps_rollup")
	if err != nil {
		f, err = os.Open(os.DevNull)
	}
	if err != nil {
		return nil, fmt.Errorf("open own memory: %w", err)
	}
	return f, nil
}

// memory follows how much memory the lab has: the sum of the proportional set
// sizes of all its processes, in which shared pages count once (Pss of proc(5)).
type memory struct {
	stop    chan struct{}
	work    sync.WaitGroup
	starter *os.File
	most    int64 // bytes; 0: unknown
}

func watchMemory() *memory {
	m := &memory{stop: make(chan struct{}), starter: os.NewFile(starterMemory, "memory of the starter")}
	m.work.Go(func() {
		tick := time.NewTicker(memoryEvery)
		defer tick.Stop()
		for {
			m.most = max(m.most, m.now())
			select {
			case <-tick.C:
			case <-m.stop:
				return
			}
		}
	})
	return m
}

// peak ends the watch and returns the greatest sum, nil if it is unknown.
func (m *memory) peak() *int64 {
	close(m.stop)
	m.work.Wait()
	if m.most == 0 {
		return nil
	}
	return &m.most
}

// now is the sum of this moment; 0 where /proc is not of this process namespace
// or the kernel is older than 4.14.
func (m *memory) now() (sum int64) {
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return 0
	}
	list, _ := filepath.Glob("/proc/[0-9]*/smaps_rollup")
	for _, path := range list {
		sums, _ := os.ReadFile(path) // unless it has just ended
		sum += proportional(sums)
	}
	m.starter.Seek(0, io.SeekStart)
	sums, _ := io.ReadAll(m.starter)
	return sum + proportional(sums)
}

// proportional is the value of Pss, in bytes.
func proportional(sums []byte) int64 {
	_, rest, found := bytes.Cut(sums, []byte("\nPss:"))
	value, _, _ := bytes.Cut(rest, []byte(" kB"))
	n, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
	if !found || err != nil {
		return 0
	}
	return n << 10
}
