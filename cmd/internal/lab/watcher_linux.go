package lab

import (
	"slices"
	"sync"

	"tcppunch/rawsock/netlab"
)

// watcher collects what passes the core between the two sides.
type watcher struct {
	edges edges
	mu    sync.Mutex
	seen  []sighting
	byID  map[uint64]int
}

func newWatcher(e edges) *watcher { return &watcher{edges: e, byID: map[uint64]int{}} }

// forget drops what was seen, since another meeting begins.
func (w *watcher) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = nil
	clear(w.byID)
}

func (w *watcher) observe(p netlab.Passage) {
	h, ok := parseHeader(p.Packet)
	if !ok {
		return
	}
	from := w.edges.between(h)
	if from == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch p.Event {
	case netlab.Entered:
		w.byID[p.ID] = len(w.seen)
		w.seen = append(w.seen, sighting{from: from, sent: p.Wall, header: h})
	case netlab.Delivered:
		if i, ok := w.byID[p.ID]; ok {
			w.seen[i].arrived, w.seen[i].late = p.Wall, p.At-p.Due
		}
	case netlab.TTLExceeded:
		if i, ok := w.byID[p.ID]; ok {
			w.seen[i].expired = true
		}
	}
}

func (w *watcher) sightings() []sighting {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.seen)
}
