package captures

import (
	"runtime"
	"sync"
)

// feed files all packets of a source, with as many workers as Go may use
// processors. The outcome does not depend on how many there are.
func (a *Analyzer) feed(file int, r *Reader) error {
	counts, first := a.counts(file), newWorker(a)
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

// batchesAhead is how many batches the fastest worker may be ahead of the slowest.
const batchesAhead = 4

// party is several workers on one file, without a reader of their own: they read
// in turns, one batch ahead of what they file.
type party struct {
	workers []*worker
	reader  *Reader
	counts  *FileCounts

	mu      sync.Mutex
	changed sync.Cond            // one of what follows
	batches [batchesAhead]shared // number n at n modulo its length
	read    int                  // batches so far
	reading bool
	err     error // that ended the reading
	windows [][]byte
}

// shared is a batch that all workers look at.
type shared struct {
	batch
	using int // workers that are not done with it
}

func newParty(a *Analyzer, file, n int) *party {
	p := &party{}
	p.changed.L = &p.mu
	for range n {
		w := newWorker(a)
		w.begin(file, a.offset(file))
		p.workers = append(p.workers, w)
	}
	return p
}

// window gives the reader a window that nobody uses. The one that it leaves
// belongs to a batch.
func (p *party) window(_ []byte, length int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := len(p.windows) - 1; last >= 0 && len(p.windows[last]) >= length {
		w := p.windows[last]
		p.windows = p.windows[:last]
		return w
	}
	return make([]byte, length)
}

// feed lets the workers read until the end, and waits for them.
func (p *party) feed(r *Reader, counts *FileCounts) error {
	r.swap, p.reader, p.counts = p.window, r, counts
	var running sync.WaitGroup
	for i, w := range p.workers {
		running.Go(func() { p.work(w, i) })
	}
	running.Wait()
	for _, w := range p.workers {
		counts.add(w.counts)
	}
	return p.err
}

// work files the segments of the worker's shards, which are every n-th.
func (p *party) work(w *worker, index int) {
	for n := 0; ; n++ {
		b := p.take(w, n)
		if b == nil {
			return
		}
		w.fileListed(b.looks, b.lists[index])
		p.release(b)
	}
}

// take returns a batch; nil if there are fewer. Unless somebody is reading, it
// first sees to it that there is one more, so that nobody has to wait.
func (p *party) take(w *worker, n int) *shared {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		next := &p.batches[p.read%batchesAhead]
		switch {
		case p.err == nil && !p.reading && next.using == 0 && p.read <= n+1:
			p.fill(w, next)
		case n < p.read:
			return &p.batches[n%batchesAhead]
		case p.err != nil:
			return nil
		default:
			p.changed.Wait()
		}
	}
}

// fill reads the next batch, and looks at what is in it. Meanwhile the others
// may file those before it.
func (p *party) fill(w *worker, b *shared) {
	p.reading = true
	p.mu.Unlock()
	b.first, b.records = p.counts.Packets+1, b.records[:0]
	err := p.reader.fill(&b.batch)
	if err == nil {
		w.lookAtAll(&b.batch, len(p.workers))
	}
	p.mu.Lock()
	p.reading = false
	p.changed.Broadcast()
	if err != nil {
		p.err = err
		return
	}
	p.counts.Packets += len(b.records)
	b.using = len(p.workers)
	p.read++
}

func (p *party) release(b *shared) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.using--; b.using > 0 {
		return
	}
	if len(p.windows) < batchesAhead { // else it was for one batch only
		p.windows = append(p.windows, b.data)
	}
	p.changed.Broadcast()
}
