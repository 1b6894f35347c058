package captures

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// feed files all packets of a source, with as many workers as Go may use
// processors. The outcome does not depend on how many there are.
func (a *Analyzer) feed(file int, r *Reader) error {
	counts, first := a.counts(file), newWorker(a, 0, 1)
	first.begin(file, a.offset(file))
	b := &batch{first: 1}
	workers := min(runtime.GOMAXPROCS(0), shards)
	for {
		if err := r.fill(b); err != nil {
			counts.add(first.counts)
			return err
		}
		counts.Packets += len(b.records)
		first.addAll(b)
		if workers > 1 && r.ended == nil && len(r.buffer) >= fullWindow {
			counts.add(first.counts)
			return newParty(a, file, workers).feed(r, counts)
		}
	}
}

// party is several workers on one file. The batches pass from the reader to
// all workers, and from the last that is done with one back to the reader.
type party struct {
	workers []*worker
	inputs  []chan *shared
	free    chan *shared
	windows chan []byte
}

// shared is a batch that all workers look at.
type shared struct {
	batch
	using atomic.Int32
}

func newParty(a *Analyzer, file, n int) *party {
	p := &party{free: make(chan *shared, n+1), windows: make(chan []byte, n+2)}
	for i := range n {
		w := newWorker(a, i, n)
		w.begin(file, a.offset(file))
		p.workers = append(p.workers, w)
		p.inputs = append(p.inputs, make(chan *shared, 1))
	}
	for range cap(p.free) {
		p.free <- new(shared)
	}
	return p
}

// window gives the reader a window that nobody uses. The one that it leaves
// belongs to a batch.
func (p *party) window(_ []byte, length int) []byte {
	select {
	case w := <-p.windows:
		if len(w) >= length {
			return w
		}
	default:
	}
	return make([]byte, length)
}

// feed reads until the end and waits for the workers.
func (p *party) feed(r *Reader, counts *FileCounts) error {
	r.swap = p.window
	var running sync.WaitGroup
	for i := range p.workers {
		running.Go(func() { p.work(i) })
	}
	var err error
	for {
		b := <-p.free
		b.first, b.records = counts.Packets+1, b.records[:0]
		if err = r.fill(&b.batch); err != nil {
			break
		}
		counts.Packets += len(b.records)
		b.using.Store(int32(len(p.workers)))
		for _, in := range p.inputs {
			in <- b
		}
	}
	for _, in := range p.inputs {
		close(in)
	}
	running.Wait()
	for _, w := range p.workers {
		counts.add(w.counts)
	}
	return err
}

func (p *party) work(i int) {
	for b := range p.inputs[i] {
		p.workers[i].addAll(&b.batch)
		if b.using.Add(-1) > 0 {
			continue
		}
		select {
		case p.windows <- b.data:
		default: // a window for one batch only
		}
		p.free <- b
	}
}
