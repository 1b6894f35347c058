package captures

// Bounds of what an Analyzer holds, whatever it is fed. They are divided among
// the shards, which are enough for any machine's processors and always as many,
// so that the outcome does not depend on how many work.
const (
	shards        = 8
	maxOpenings   = 1 << 20 / shards // in progress, at 128 bytes each
	maxNodes      = 1 << 21 / shards // segments of all openings, at 64 bytes each
	maxKept       = 1 << 17 / shards // ordinary openings kept when they are over, to be compared between places
	maxKeptAlone  = 1 << 14 / shards // the same where there is one place so far, and they are only to be listed
	maxKeptOdd    = 1 << 14 / shards // and others beside them
	firstSweep    = 1 << 12 / shards
	crowded       = 1 << 17 / shards // segments held from where on fewer are kept of each opening
	maxFlowLength = 256              // segments kept of one opening: the first few and the latest
	keptFirst     = 32               // of one that is longer
	maxPlain      = 3                // segments without SYN or RST kept of one opening, per side and kind
)

// shard holds the openings of some of the flows, and is used by one goroutine
// at a time.
type shard struct {
	table    table
	openings slab[opening]
	details  slab[particulars] // with the same numbers
	nodes    slab[node]
	notes    slab[icmpNote]
	now      int64 // of the latest packet
	sweepAt  int   // openings in progress

	kept     []uint32          // openings that are over
	reserved [2]int            // openings that are kept or will be: ordinary, odd
	counts   verdictCounts     // of the openings that are not kept
	counting func(flowID) bool // which of them; nil: all
	early    int               // openings that were judged before their time
	dropped  map[int]int       // segments by file
	orphans  orphans
	several  bool   // files are to come
	only     uint64 // the place of the first opening, with the address family left out
	places   bool   // there are others
	ahead    uint64 // what was read ahead, lest the reading be optimised away
}

// verdictCounts counts openings by verdict.
type verdictCounts [VerdictIncomplete + 1]int

// place puts a segment where it belongs. Most are of the traffic of a settled
// opening that is not kept.
func (s *shard) place(l *look) {
	s.now = max(s.now, l.time)
	n := s.find(l)
	if n != 0 && !l.kind.isSyn() {
		if o := s.openings.at(n); o.state&(stateSettled|stateKept) == stateSettled {
			o.time = l.time
			o.state |= endings[l.kind%16]
			return
		}
	}
	s.placeOpening(n, l)
}

// endings are the kinds of segments that end a connection.
var endings = [16]uint16{KindFin: stateEnded, KindRst: stateEnded, KindRstAck: stateEnded}

// placeOpening is place for all others. A connection whose opening was not
// captured is of no interest.
func (s *shard) placeOpening(n uint32, l *look) {
	if l.kind.isSyn() && (n == 0 || s.isOver(n, l)) {
		if n != 0 {
			s.finish(n)
		}
		n = s.open(l)
	}
	if n == 0 {
		if mayBeOrphan(l.kind, s.several) {
			s.orphans.add(l.segment())
		}
		return
	}
	o := s.openings.at(n)
	if o.is(stateSettled) && (!o.is(stateKept) || s.isMore(o, l)) {
		o.time = l.time
		o.state |= endings[l.kind%16]
		return
	}
	if s.isRepeated(o, l) || !s.isWanted(n, l) {
		return
	}
	if o.is(bothAnswered) && !o.is(stateSettled) && s.settle(n) {
		return
	}
	s.add(n, l)
}

// find returns the opening that a segment belongs to; 0 if there is none.
func (s *shard) find(l *look) uint32 {
	if n := l.hint; n != 0 {
		if o := s.openings.at(n); o.inProgress() && o.isOf(&l.id) {
			return n
		}
	}
	return s.number(&l.id)
}

// isMore reports whether a segment is of the traffic of a connection of which
// enough is kept.
func (s *shard) isMore(o *opening, l *look) bool {
	switch l.kind {
	case KindAck, KindData, KindFin:
		return o.plainOf(l.end(), l.kind) >= s.plainWanted()
	}
	return false
}

func (s *shard) open(l *look) uint32 {
	if s.table.used >= max(s.sweepAt, firstSweep) {
		s.sweep()
	}
	place := l.id.place | 1
	if s.only == 0 {
		s.only = place
	}
	s.places = s.places || s.only != place
	n := s.openings.take()
	for s.details.made < n {
		s.details.take()
	}
	o := s.openings.at(n)
	o.hash, o.ports, o.state, o.time = l.id.hash, l.id.ports, stateUsed, l.time
	*s.details.at(n) = particulars{low: l.id.low, high: l.id.high, place: l.id.place, first: l.packet}
	s.put(&l.id, n)
	return n
}

// sweep ends what is idle. It runs whenever a quarter has been added to the
// openings since, so that its cost for each is small and bounded.
func (s *shard) sweep() {
	s.finishWhere(func(o *opening) bool { return o.isIdle(s.now) })
	if s.table.used >= maxOpenings {
		s.relieve()
	}
	s.sweepAt = min(s.table.used+s.table.used/4, maxOpenings)
}

// relieve judges the openings that were silent for longer than the mean before
// their time.
func (s *shard) relieve() {
	var sum, count int64
	for n := range s.openings.made {
		if o := s.openings.at(n + 1); o.inProgress() && o.time != noTime {
			count++
			sum += (o.time - s.now) / 1024 // 1024 times the least time do not overflow with a million openings
		}
	}
	mean := s.now + sum/max(count, 1)*1024
	s.early += s.table.used
	s.finishWhere(func(o *opening) bool { return o.time <= mean+1024 })
	s.early -= s.table.used
}

func (o *opening) inProgress() bool { return o.is(stateUsed) && !o.is(stateOver) }

// finishWhere ends openings by the group, so that the processor fetches the
// slots of all before it needs the first.
func (s *shard) finishWhere(over func(*opening) bool) {
	var group [pendingFrames]uint32
	waiting := 0
	for c, chunk := range s.openings.chunks {
		for i := range chunk {
			if o := &chunk[i]; !o.inProgress() || !over(o) {
				continue
			}
			group[waiting] = uint32(c*slabChunk + i)
			if waiting++; waiting == len(group) {
				s.finishAll(group[:])
				waiting = 0
			}
		}
	}
	s.finishAll(group[:waiting])
}

func (s *shard) finishAll(list []uint32) {
	for _, n := range list {
		s.ahead += s.table.first(s.openings.at(n).hash)
	}
	for _, n := range list {
		s.finish(n)
	}
}

// settle is for an opening whose both ends are established: if it is an
// ordinary one nothing can change its verdict, and its segments are needed only
// if it is kept. It reports whether they were given up.
func (s *shard) settle(n uint32) bool {
	o := s.openings.at(n)
	if _, quick := o.quickVerdict(); !quick || o.count == maxFlowLength { // one more makes it odd
		return false
	}
	o.state |= stateSettled
	if s.reserve(0) {
		o.state |= stateKept
		return false
	}
	s.release(n)
	return true
}

// reserve takes one of the places for openings that are kept.
func (s *shard) reserve(odd int) bool {
	limits := [2]int{maxKept, maxKeptOdd}
	if !s.several && !s.places {
		limits[0] = maxKeptAlone
	}
	if s.reserved[odd] >= limits[odd] || s.nodes.held() >= maxNodes/2 {
		return false
	}
	s.reserved[odd]++
	return true
}

// finish takes an opening out of the table, and keeps or counts it.
func (s *shard) finish(n uint32) {
	o := s.openings.at(n)
	s.table.remove(o.hash, n)
	if s.keeps(o) {
		o.state |= stateKept | stateOver
		s.kept = append(s.kept, n)
		return
	}
	s.count(n, &s.counts)
	s.release(n)
	s.openings.give(n)
}

// keeps decides whether an opening that is over is kept.
func (s *shard) keeps(o *opening) bool {
	if o.is(stateKept) || o.is(stateSettled) {
		return o.is(stateKept)
	}
	if _, quick := o.quickVerdict(); !quick {
		return s.reserve(1)
	}
	return s.reserve(0)
}

func (s *shard) count(n uint32, counts *verdictCounts) {
	if s.counting != nil && !s.counting(s.id(n)) {
		return
	}
	verdict, quick := s.openings.at(n).quickVerdict()
	if !quick {
		verdict = verdictOf(s.expand(n))
	}
	counts[verdict]++
}

// all is what finishing everything would keep and count.
func (s *shard) all() (kept []uint32, counts verdictCounts) {
	kept, counts = append(kept, s.kept...), s.counts
	reserved := s.reserved
	for n := uint32(1); n <= s.openings.made; n++ {
		if o := s.openings.at(n); !o.inProgress() {
			continue
		} else if s.keeps(o) {
			kept = append(kept, n)
		} else {
			s.count(n, &counts)
		}
	}
	s.reserved = reserved
	return kept, counts
}

// release frees the segments of an opening. ICMP errors are in odd ones only.
func (s *shard) release(n uint32) {
	o := s.openings.at(n)
	if o.count > fewNodes || o.is(stateOdd) {
		for i, x := range s.nodesOf(o) {
			s.free(i, x)
		}
	} else {
		for _, i := range o.nodes[:o.count] {
			s.nodes.giveUsed(i)
		}
	}
	o.latest, o.count = 0, 0
}

func (s *shard) free(i uint32, x *node) {
	if x.kind.IsICMP() {
		s.notes.give(uint32(x.layout))
	}
	s.nodes.giveUsed(i)
}

func (s *shard) plainWanted() int {
	if s.nodes.held() >= crowded {
		return 1
	}
	return maxPlain
}

// add keeps a segment of an opening.
func (s *shard) add(n uint32, l *look) {
	file := int(l.id.place >> 33)
	if s.nodes.held() >= maxNodes {
		s.drop(file, 1)
		return
	}
	o := s.openings.at(n)
	if o.count == maxFlowLength {
		s.drop(file, s.forget(o))
		o.count -= maxFlowLength/2 - keptFirst
	}
	number := s.nodes.take()
	x := s.nodes.at(number)
	x.set(l)
	if l.kind.IsICMP() {
		note := s.notes.take()
		*s.notes.at(note) = newICMPNote(l.decoded)
		x.layout = uint64(note)
	}
	if o.count < fewNodes {
		o.nodes[o.count] = number
	} else {
		x.before, o.latest = o.latest, number
	}
	o.count++
	o.marks = o.marks<<8 | uint64(l.mark())
}

// mark tells most segments apart without looking at their nodes. It is not 0.
func (l *look) mark() byte {
	h := (l.seq ^ l.ack*0x85ebca6b ^ l.payload*0xc2b2ae35 ^ uint32(l.kind)<<16) * 0x9e3779b1
	return byte(h>>24) | 1
}

// hasByte is the test of Hacker's Delight section 6-1.
func hasByte(word uint64, b byte) bool {
	const ones = 0x0101010101010101
	x := word ^ ones*uint64(b)
	return (x-ones)&^x&(ones<<7) != 0
}

func (s *shard) drop(file, segments int) {
	if s.dropped == nil {
		s.dropped = map[int]int{}
	}
	s.dropped[file] += segments
}

// forget makes room in a long series of attempts. The beginning stays, and the
// end, on which the verdict rests.
func (s *shard) forget(o *opening) int {
	o.state |= stateOdd
	last := s.nodes.at(o.latest)
	for range maxFlowLength/2 - 1 {
		last = s.nodes.at(last.before)
	}
	for range maxFlowLength/2 - keptFirst {
		i := last.before
		x := s.nodes.at(i)
		last.before = x.before
		s.free(i, x)
	}
	return maxFlowLength/2 - keptFirst
}

// isRepeated recognises a frame that one capture holds twice: on its way in and
// out of a router or of the loopback interface.
func (s *shard) isRepeated(o *opening, l *look) bool {
	if gap := between(o.time, l.time); gap > duplicateFrame {
		return false
	}
	if !hasByte(o.marks, l.mark()) {
		return false
	}
	seen := 0
	for _, x := range s.nodesOf(o) {
		if seen++; seen > 8 {
			break
		}
		if gap := between(x.time, l.time); gap < 0 || gap > duplicateFrame {
			continue
		}
		if x.seq != l.seq || x.ack != l.ack || x.kind != l.kind || x.payload != l.payload || x.time == noTime {
			continue
		}
		var y node
		y.set(l)
		y.packet, y.time, y.ttl, y.before = x.packet, x.time, x.ttl, x.before
		if l.kind.IsICMP() {
			if *s.notes.at(uint32(x.layout)) != newICMPNote(l.decoded) {
				continue
			}
			y.layout = x.layout
		}
		if y == *x {
			return true
		}
	}
	return false
}

// segment is for what belongs to no opening.
func (l *look) segment() Segment {
	var x node
	x.set(l)
	var notes slab[icmpNote]
	if l.kind.IsICMP() {
		note := notes.take()
		*notes.at(note) = newICMPNote(l.decoded)
		x.layout = uint64(note)
	}
	return x.segment(l.id.key(), &notes)
}

// expand is an opening in the words of the rest of the package.
func (s *shard) expand(n uint32) *flow {
	o, d, id := s.openings.at(n), s.details.at(n), s.id(n)
	f := &flow{key: id.key(), segments: make([]Segment, o.count), isns: map[isnKey]bool{}}
	at := int(o.count)
	for _, x := range s.nodesOf(o) {
		at--
		f.segments[at] = x.segment(f.key, &s.notes)
		if x.kind.isSyn() {
			f.isns[isnKey{f.segments[at].From, x.seq}] = true
		}
	}
	for end := range 2 {
		f.syns[end], f.tries[end] = int(d.syns[end]), int(d.tries[end])
	}
	return f
}
