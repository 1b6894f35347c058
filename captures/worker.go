package captures

import (
	"slices"
	"time"
)

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

// worker looks at frames, and files segments.
type worker struct {
	analyzer *Analyzer
	decoder  *Decoder
	counts   FileCounts
	file     int
	offset   time.Duration
	looks    [pendingFrames]look
	pending  [pendingFrames]*look
	ahead    uint64 // what was read ahead, lest the reading be optimised away
}

func newWorker(a *Analyzer) *worker { return &worker{analyzer: a, decoder: NewDecoder()} }

// begin is called before the frames of another file.
func (w *worker) begin(file int, offset time.Duration) { w.file, w.offset = file, offset }

// add takes a frame.
func (w *worker) add(f *arrival) {
	l := &w.looks[0]
	switch l.walk(f.link, f.data, placeOf(w.file, f.place, false)) {
	case glanceUnsure:
		if !w.decode(l, f) {
			return
		}
	case glanceOther:
		return
	}
	w.complete(l, f.time, f.number)
	w.pending[0] = l
	w.flush(1)
}

// addAll takes all packets of a batch.
func (w *worker) addAll(b *batch) {
	waiting := 0
	for i := range b.records {
		l := &w.looks[waiting]
		if !w.lookAt(l, b, i) {
			continue
		}
		w.pending[waiting] = l
		if waiting++; waiting == pendingFrames {
			w.flush(waiting)
			waiting = 0
		}
	}
	w.flush(waiting)
}

// lookAtAll looks at all packets of a batch, and lists for each of several
// workers the segments that are of its shards.
func (w *worker) lookAtAll(b *batch, workers int) {
	if b.lists == nil {
		b.lists = make([][]uint32, workers)
	}
	for i := range b.lists {
		b.lists[i] = b.lists[i][:0]
	}
	var owner [shards]uint8
	for i := range owner {
		owner[i] = uint8(i % workers)
	}
	n := 0
	for i := range b.records {
		if n == len(b.looks) {
			b.looks = append(b.looks, make([]look, max(n, 2*pendingFrames))...)
		}
		if l := &b.looks[n]; w.lookAt(l, b, i) {
			list := &b.lists[owner[l.shard%shards]]
			*list = append(*list, uint32(n))
			n++
		}
	}
}

// fileListed files some of the segments that were looked at.
func (w *worker) fileListed(looks []look, list []uint32) {
	for part := range slices.Chunk(list, pendingFrames) {
		for i, n := range part {
			w.pending[i] = &looks[n]
		}
		w.flush(len(part))
	}
}

// lookAt reports whether a packet of a batch is a segment, and if so fills l.
func (w *worker) lookAt(l *look, b *batch, i int) bool {
	r := &b.records[i]
	switch l.walk(b.links[r.place], b.data[r.start:r.start+r.length], placeOf(w.file, int(r.place), false)) {
	case glanceUnsure:
		f := b.arrival(i)
		if !w.decode(l, &f) {
			return false
		}
	case glanceOther:
		return false
	}
	w.complete(l, r.time, b.first+i)
	return true
}

// complete adds what does not stand in the frame.
func (w *worker) complete(l *look, at int64, number int) {
	if at != noTime {
		at += int64(w.offset)
	}
	l.time, l.packet = at, uint64(number)
	l.id.setHash()
	w.counts.TCP++
}

// decode lets gopacket decode a frame that is not a common one.
func (w *worker) decode(l *look, f *arrival) bool {
	s, err := w.decoder.decode(f.link, f.data, max(0, f.cut))
	if err != nil {
		if isDamage(err) {
			w.counts.Damaged++
		}
		if !f.link.isKnown() {
			w.counts.Unknown++
		}
		return false
	}
	if s.Interface == 0 {
		s.Interface = f.place
	}
	l.take(&s, w.file)
	return true
}

func (w *worker) shard(l *look) *shard { return &w.analyzer.shards[l.shard%shards] }

// flush files so many segments that are pending. It goes over all of them three
// times, so that the processor fetches the slots of all, and then the openings
// and the nodes, before any is needed. No branch hangs on an opening that is
// fetched ahead, lest the rest wait for it.
func (w *worker) flush(pending int) {
	list := w.pending[:pending]
	ahead := w.ahead
	for _, l := range list {
		ahead += w.shard(l).table.first(l.id.hash)
	}
	var next [shards]upcoming
	for _, l := range list {
		s := w.shard(l)
		n := s.table.hint(l.id.hash)
		l.hint = n
		ahead += next[l.shard%shards].touch(s, n, l.kind)
	}
	w.ahead = ahead
	for _, l := range list {
		w.shard(l).place(l)
	}
}

// upcoming counts what a shard will take for the segments that come before.
type upcoming struct{ openings, nodes uint8 }

// touch reads a word of each line of memory that a segment will need.
func (u *upcoming) touch(s *shard, n uint32, kind Kind) (sum uint64) {
	if n == 0 && kind == KindSyn {
		if n = s.openings.next(int(u.openings)); n != 0 {
			u.openings++
			sum += s.details.at(n).first
		}
	}
	if n != 0 {
		sum += uint64(s.openings.at(n).state)
	}
	if kind <= KindAck {
		if n = s.nodes.next(int(u.nodes)); n != 0 {
			u.nodes++
			sum += s.nodes.at(n).packet
		}
	}
	return sum
}
