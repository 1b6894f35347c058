package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"tcppunch/captures"
)

// mostReruns is how often trials of a pair are run again because this machine was
// too slow for them, where fewer were asked for.
const mostReruns = 10

// RunMatrix lets every pair of profiles meet. Where timing decides, few meet at
// a time, and only then the others, as many at a time as config.Parallel says,
// fewer when this machine proves too slow. It must be called in the supervisor.
// done, if not nil, is told of each cell that has ended, one at a time, and of how
// many there are.
func RunMatrix(ctx context.Context, config MatrixConfig, done func(cell MatrixCell, of int)) (Matrix, error) {
	started := time.Now()
	memory := watchMemory()
	list := config.pairings()
	cells, err := runPairings(ctx, list, config.Parallel, func(_ int, cell MatrixCell) {
		if done != nil {
			done(cell, len(list))
		}
	})
	peak := memory.peak()
	if err != nil {
		return Matrix{}, err
	}
	x := config.matrix(cells, time.Since(started))
	x.Summary.Memory = peak
	return x, nil
}

// runPairings lets pairs meet, those first that timing decides. done is told of
// each that has ended by its place in the list, one at a time.
func runPairings(ctx context.Context, list []pairing, parallel int, done func(int, MatrixCell)) ([]MatrixCell, error) {
	smallTables()
	m := &matrixRun{pairings: list, done: done, parts: make([][]*series, len(list)), cells: make([]MatrixCell, len(list))}
	for i, p := range list {
		m.parts[i] = make([]*series, len(p.parts()))
	}
	ctx, m.stop = context.WithCancelCause(ctx)
	defer m.stop(nil)
	for _, timing := range []bool{true, false} {
		width := max(parallel, 1)
		if timing {
			width = min(width, timedParallel(list))
		}
		m.all(ctx, newGate(width), timing)
	}
	return m.cells, context.Cause(ctx)
}

// smallTables gives each namespace that is made from now on a table of
// connections of its own, where the kernel can (ip-sysctl.rst,
// tcp_child_ehash_entries, since Linux 6.1). To list the connections of a
// namespace the kernel walks the whole table, and that of the machine takes it a
// millisecond.
func smallTables() {
	os.WriteFile("/proc/sys/net/ipv4/tcp_child_ehash_entries", []byte("4096"), 0)
}

// timedParallel is how many meetings that timing decides run at a time. Four keep
// two processors busy for a third of the time.
func timedParallel(list []pairing) int {
	if len(list) > 0 && list[0].config.Delay >= roomy {
		return 4
	}
	return 2
}

type matrixRun struct {
	pairings []pairing
	stop     context.CancelCauseFunc

	mu    sync.Mutex
	done  func(int, MatrixCell)
	parts [][]*series // of each pairing; nil: not yet run
	cells []MatrixCell
}

// all runs the cells of one kind, each in parts.
func (m *matrixRun) all(ctx context.Context, g *gate, timing bool) {
	var running sync.WaitGroup
	for _, i := range longestFirst(m.pairings) {
		p := m.pairings[i]
		if timed(p.config.A, p.config.B) != timing {
			continue
		}
		for k, part := range p.parts() {
			if ctx.Err() != nil {
				break
			}
			g.enter()
			running.Go(func() {
				defer g.leave()
				s, err := part.run(ctx, g)
				if err != nil {
					m.fail(p.config, err)
					return
				}
				m.add(i, k, s)
			})
		}
	}
	running.Wait()
}

// add puts part k of cell i into its place. The last one completes the cell.
func (m *matrixRun) add(i, k int, s *series) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts[i][k] = s
	if slices.Contains(m.parts[i], nil) {
		return
	}
	m.cells[i] = m.pairings[i].cell(m.parts[i])
	m.parts[i] = nil
	m.done(i, m.cells[i])
}

// fail stops the matrix, and says which pair made it.
func (m *matrixRun) fail(c Config, err error) {
	if crash, ok := errors.AsType[*Crash](err); ok {
		crash.Node = fmt.Sprintf("%s × %s: %s", c.A.Name, c.B.Name, crash.Node)
	}
	m.stop(fmt.Errorf("%s × %s: %w", c.A.Name, c.B.Name, err))
}

func (c MatrixConfig) matrix(cells []MatrixCell, took time.Duration) Matrix {
	x := Matrix{Transport: c.transport(), Delay: int64(c.Delay), Budget: termsOf(c.Config).Budget, Cells: cells}
	for _, p := range c.Profiles {
		x.Profiles = append(x.Profiles, p.Name)
	}
	x.summarize(took)
	return x
}

// cell is what the parts measured together.
func (p pairing) cell(parts []*series) MatrixCell {
	a, b := p.config.A, p.config.B
	x := MatrixCell{A: a.Name, B: b.Name, Expected: p.theory.Probability, Because: p.theory.Because, Timed: timed(a, b)}
	var trials []Trial
	for i, s := range parts {
		trials = append(trials, s.trials...)
		if i == 0 || x.Failure == "" && s.failure != "" {
			x.Shown, x.Failure = s.shown, s.failure
		}
		if x.Connected == nil {
			x.Connected = s.connected
		}
	}
	x.Summary = Summarize(trials)
	x.judge()
	return x
}

// series are the meetings of one pair in one network.
type series struct {
	trials    []Trial
	shown     *captures.Handshake // MatrixCell.Shown
	connected *captures.Handshake // MatrixCell.Connected
	failure   string              // MatrixCell.Failure
}

// run lets one pair meet in one network. The gate is told when this machine was
// too slow for a trial, and when one only waits.
func (p pairing) run(ctx context.Context, g *gate) (*series, error) {
	c := p.config.beside()
	s := &series{}
	err := withCell(ctx, c, p.directory, func(lab *cell) error {
		for !s.suffices(c.Trials) {
			began := time.Now()
			t, err := lab.once(ctx, s, g)
			if err != nil {
				return err
			}
			s.trials = append(s.trials, t)
			g.fared(t.Valid, began)
		}
		return nil
	})
	return s, err
}

// suffices reports whether enough trials count, or this machine was too slow so
// often that the others had better go on: what counts then is fewer than was
// asked for, as the summary tells.
func (s *series) suffices(trials int) bool {
	valid := 0
	for _, t := range s.trials {
		if t.Valid {
			valid++
		}
	}
	return valid >= trials || len(s.trials)-valid > max(mostReruns, trials)
}

// once runs one trial, and keeps its exchange if it is the first to be shown.
func (c *cell) once(ctx context.Context, s *series, g *gate) (Trial, error) {
	t, err := c.newTrial(ctx)
	if err != nil {
		return Trial{}, err
	}
	defer t.close()
	back := func() {}
	if c.config.roughly {
		back = g.lend(busyFor + 8*c.config.Delay)
	}
	r, err := t.meet(ctx)
	back()
	if err != nil {
		return r, err
	}
	if r.Established && s.connected == nil {
		s.connected = t.shown
	}
	if first := c.began == 1; first || !r.Established && s.failure == "" {
		s.shown = t.shown
		if !r.Established {
			s.failure = explanationOf(r)
		}
	}
	r.MeetA, r.MeetB, r.Mappings = nil, nil, nil
	return r, nil
}
