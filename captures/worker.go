package captures

import "time"

// arrival is a packet as a worker takes it.
type arrival struct {
	data   []byte
	link   LinkType
	place  int // interface
	cut    int // bytes that the capture left out
	time   int64
	number int
}

// pendingFrames is how many frames are looked at before the first of them is
// filed: while one waits for memory the others are under way.
const pendingFrames = 64

// worker files the segments of its shards, which are every n-th. All workers
// look at all frames, which takes less than handing them over would.
type worker struct {
	analyzer *Analyzer
	index, n int
	decoder  *Decoder
	counts   FileCounts
	file     int
	offset   time.Duration
	pending  [pendingFrames]look
	waiting  int
	ahead    uint64 // what was read ahead, lest the reading be optimised away
}

func newWorker(a *Analyzer, index, n int) *worker {
	return &worker{analyzer: a, index: index, n: n, decoder: NewDecoder()}
}

// begin is called before the frames of another file.
func (w *worker) begin(file int, offset time.Duration) { w.file, w.offset = file, offset }

// add takes a frame, which must stay valid until flush.
func (w *worker) add(f arrival) {
	l := &w.pending[w.waiting]
	switch l.walk(f.link, f.data, placeOf(w.file, f.place, false)) {
	case glanceOther:
		return
	case glanceUnsure:
		w.decode(f)
		return
	}
	if !w.owns(l) {
		return
	}
	l.time, l.packet = w.stamp(f), uint64(f.number)
	l.id.setTag()
	w.counts.TCP++
	if w.waiting++; w.waiting == pendingFrames {
		w.flush()
	}
}

func (w *worker) stamp(f arrival) int64 {
	if f.time == noTime {
		return noTime
	}
	return f.time + int64(w.offset)
}

func (w *worker) owns(l *look) bool { return w.n == 1 || l.id.shard()%w.n == w.index }

// decode lets gopacket decode a frame that is not a common one.
func (w *worker) decode(f arrival) {
	s, err := w.decoder.decode(f.link, f.data, max(0, f.cut))
	if err != nil {
		if w.index == 0 && isDamage(err) {
			w.counts.Damaged++
		}
		if w.index == 0 && !f.link.isKnown() {
			w.counts.Unknown++
		}
		return
	}
	if s.Interface == 0 {
		s.Interface = f.place
	}
	var l look
	l.take(&s, w.file)
	if !w.owns(&l) {
		return
	}
	l.time, l.packet = w.stamp(f), uint64(f.number)
	l.id.setTag()
	w.counts.TCP++
	w.flush()
	w.shard(&l).place(&l)
}

func (w *worker) shard(l *look) *shard { return &w.analyzer.shards[l.id.shard()] }

// flush files what is pending. It goes over all of it three times, so that the
// processor fetches the slots of all, and then the openings, before any is
// needed.
func (w *worker) flush() {
	list := w.pending[:w.waiting]
	w.waiting = 0
	var slots [pendingFrames]uint64
	for i := range list {
		t := &w.shard(&list[i]).table
		if len(t.slots) > 0 {
			slots[i] = t.slots[int(list[i].id.tag)&(len(t.slots)-1)]
		}
	}
	for i := range list {
		n := uint32(slots[i])
		if n == 0 {
			continue
		}
		if s := w.shard(&list[i]); !s.openings.at(n).is(stateSettled) {
			w.ahead += uint64(s.attempts.at(n).count)
		}
	}
	for i := range list {
		w.shard(&list[i]).place(&list[i])
	}
}
