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

// worker files the segments of its shards, which are every n-th.
type worker struct {
	analyzer *Analyzer
	index    int
	owned    owned
	decoder  *Decoder
	counts   FileCounts
	file     int
	offset   time.Duration
	pending  [pendingFrames]look
	waiting  int
	ahead    uint64 // what was read ahead, lest the reading be optimised away
}

func newWorker(a *Analyzer, index, n int) *worker {
	w := &worker{analyzer: a, index: index, decoder: NewDecoder()}
	for i := index; i < shards; i += n {
		w.owned |= 1 << i
	}
	return w
}

// owned is a set of shards, a bit for each.
type owned uint8

const ownAll owned = 1<<shards - 1

func (o owned) has(shard uint8) bool { return o>>shard&1 != 0 }

// begin is called before the frames of another file.
func (w *worker) begin(file int, offset time.Duration) { w.file, w.offset = file, offset }

// add takes a frame, which must stay valid until flush.
func (w *worker) add(f *arrival) {
	switch w.glance(f.link, f.data, placeOf(w.file, f.place, false)) {
	case glanceUnsure:
		w.decode(f)
	case glanceTCP:
		w.wait(f.time, f.number)
	}
}

// addAll takes all packets of a batch.
func (w *worker) addAll(b *batch) {
	for i := range b.records {
		w.addRecord(b, i)
	}
	w.flush()
}

// addOwn takes those that are on the worker's list.
func (w *worker) addOwn(b *batch) {
	for _, i := range b.lists[w.index] {
		w.addRecord(b, int(i))
	}
	w.flush()
}

func (w *worker) addRecord(b *batch, i int) {
	r := &b.records[i]
	frame := b.data[r.start : r.start+r.length]
	switch w.glance(b.links[r.place], frame, placeOf(w.file, int(r.place), false)) {
	case glanceUnsure:
		f := b.arrival(i)
		w.decode(&f)
	case glanceTCP:
		w.wait(r.time, b.first+i)
	}
}

func (w *worker) glance(link LinkType, frame []byte, place uint64) glance {
	return w.pending[w.waiting].walk(link, frame, place, w.owned)
}

// wait lets the segment that was just found wait for others.
func (w *worker) wait(at int64, number int) {
	l := &w.pending[w.waiting]
	l.time, l.packet = w.stamp(at), uint64(number)
	l.id.setTag()
	w.counts.TCP++
	if w.waiting++; w.waiting == pendingFrames {
		w.flush()
	}
}

func (w *worker) stamp(at int64) int64 {
	if at == noTime {
		return noTime
	}
	return at + int64(w.offset)
}

// decode lets gopacket decode a frame that is not a common one.
func (w *worker) decode(f *arrival) {
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
	if !w.owned.has(l.shard) {
		return
	}
	l.time, l.packet = w.stamp(f.time), uint64(f.number)
	l.id.setTag()
	w.counts.TCP++
	w.flush()
	w.shard(&l).place(&l)
}

func (w *worker) shard(l *look) *shard { return &w.analyzer.shards[l.shard%shards] }

// flush files what is pending. It goes over all of it three times, so that the
// processor fetches the slots of all, and then the openings, before any is
// needed. No branch hangs on an opening that is fetched ahead, lest the rest
// wait for it.
func (w *worker) flush() {
	list := w.pending[:w.waiting]
	w.waiting = 0
	ahead := w.ahead
	for i := range list {
		ahead += w.shard(&list[i]).table.first(list[i].id.tag)
	}
	var fresh [shards]uint8
	for i := range list {
		l := &list[i]
		s := w.shard(l)
		n := s.table.hint(l.id.tag)
		l.hint = n
		if n == 0 && l.kind == KindSyn {
			n = s.openings.next(int(fresh[l.shard%shards]))
			fresh[l.shard%shards]++
		}
		if n != 0 {
			o := s.openings.at(n)
			ahead += uint64(o.state) + uint64(o.count)
		}
	}
	w.ahead = ahead
	for i := range list {
		w.shard(&list[i]).place(&list[i])
	}
}
