package captures

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Bounds of what an Analyzer holds, whatever it is fed.
const (
	maxFlows       = 1 << 17 // at up to 1 kB each
	maxSegments    = 1 << 19 // in all flows; at about 200 bytes each
	maxFlowLength  = 256     // segments kept of one opening: the first few and the latest
	keptFirst      = 32      // of one that is longer
	maxPlain       = 3       // segments without SYN or RST kept of one opening, per side and kind
	sameAttempt    = 2 * time.Minute
	duplicateFrame = 50 * time.Millisecond // far below the least retransmission time-out of a SYN, 1 s (RFC 6298)
)

// Analyzer collects openings from packets as they come, from one vantage point
// or several. The zero value is ready. It is not safe for concurrent use.
type Analyzer struct {
	decoder *Decoder
	current map[flowKey]*flow // the opening that is in progress on a pair of ports
	flows   []*flow           // all of them, in the order of their first SYN
	files   []FileCounts
	orphans orphans
	held    int
	offsets []time.Duration
}

// FileCounts says what became of the packets of one file.
type FileCounts struct {
	Packets int // fed
	TCP     int // segments, and ICMP errors about one
	Damaged int // frames that could not be decoded
	Dropped int // segments of openings that were left out because of the Analyzer's bounds
}

// flowKey is a pair of ends at one vantage point, in one order for both
// directions.
type flowKey struct {
	file, place int
	low, high   netip.AddrPort
}

func keyOf(s Segment) flowKey {
	k := flowKey{s.File, s.Interface, s.From, s.To}
	if comparePorts(k.low, k.high) > 0 {
		k.low, k.high = k.high, k.low
	}
	return k
}

func comparePorts(a, b netip.AddrPort) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
}

// flow is one opening at one vantage point.
type flow struct {
	key      flowKey
	segments []Segment
	plain    map[plainKey]int
	isns     map[isnKey]bool
	answered [2]bool // an end (low, high) sent what only an established end sends
	syns     [2]int  // SYNs of each end, all of them
	tries    [2]int  // different sequence numbers in them
	last     time.Time
	ended    bool // FIN, or RST after both answered
}

type plainKey struct {
	from netip.AddrPort
	kind Kind
}

type isnKey struct {
	from netip.AddrPort
	isn  uint32
}

// SetOffset declares what to add to the times of a file to bring it to the
// clock that all files shall share. Call it before Add.
func (a *Analyzer) SetOffset(file int, offset time.Duration) {
	for len(a.offsets) <= file {
		a.offsets = append(a.offsets, 0)
	}
	a.offsets[file] = offset
}

// Counts says what became of the packets of a file.
func (a *Analyzer) Counts(file int) FileCounts {
	if file < 0 || file >= len(a.files) {
		return FileCounts{}
	}
	return a.files[file]
}

// Add takes the next packet of a file. Files may be fed one after the other or
// interleaved; file numbers count from 0, and a negative one is ignored. The packet's data is not kept.
func (a *Analyzer) Add(file int, link LinkType, p Packet) {
	if file < 0 {
		return
	}
	if a.decoder == nil {
		a.decoder, a.current = NewDecoder(), map[flowKey]*flow{}
	}
	for len(a.files) <= file {
		a.files = append(a.files, FileCounts{})
	}
	counts := &a.files[file]
	counts.Packets++
	s, err := a.decoder.Decode(link, p.Data)
	if err != nil {
		if !errors.Is(err, ErrNotTCP) {
			counts.Damaged++
		}
		return
	}
	counts.TCP++
	s.File, s.Packet, s.Time = file, counts.Packets, p.Time
	if s.Interface == 0 {
		s.Interface = p.Interface
	}
	if file < len(a.offsets) {
		s.Time = s.Time.Add(a.offsets[file])
	}
	if !a.place(s) {
		counts.Dropped++
	}
}

// place puts a segment where it belongs; false means that a bound was in the
// way. A connection whose opening was not captured is of no interest.
func (a *Analyzer) place(s Segment) bool {
	key := keyOf(s)
	f := a.current[key]
	if s.Kind.isSyn() && (f == nil || f.isOver(s)) {
		if len(a.flows) == maxFlows || a.held == maxSegments {
			return false
		}
		f = &flow{key: key, isns: map[isnKey]bool{}}
		a.current[key] = f
		a.flows = append(a.flows, f)
	}
	if f == nil && s.Kind.isRst() {
		a.orphans.add(s)
	}
	if f == nil || !f.wants(s) {
		return true
	}
	if a.held == maxSegments {
		return false
	}
	if len(f.segments) == maxFlowLength {
		dropped := f.forget()
		a.held -= dropped
		a.files[s.File].Dropped += dropped
	}
	a.held++
	f.segments = append(f.segments, s)
	return true
}

// forget makes room in a long series of attempts. The beginning stays, and the
// end, on which the verdict rests.
func (f *flow) forget() int {
	old := f.segments[keptFirst : maxFlowLength/2]
	for _, s := range old {
		delete(f.isns, isnKey{s.From, s.Seq})
	}
	f.segments = slices.Delete(f.segments, keptFirst, maxFlowLength/2)
	return len(old)
}

// isOver reports whether a SYN begins another opening than the flow's: after a
// connection, or after a long silence. A SYN with a new sequence number before
// that is a further attempt of the same opening.
func (f *flow) isOver(s Segment) bool {
	if f.isns[isnKey{s.From, s.Seq}] {
		return false
	}
	return s.Kind == KindSyn && (f.ended || f.answered == [2]bool{true, true}) || s.Time.Sub(f.last) > sameAttempt
}

// wants decides which segments are kept: all that may matter to the opening,
// and of the traffic afterwards as much as proves that it stands.
func (f *flow) wants(s Segment) bool {
	if f.isDuplicate(s) {
		return false
	}
	f.last = s.Time
	switch {
	case s.Kind == KindSyn:
		key, end := isnKey{s.From, s.Seq}, f.index(s.From)
		f.syns[end]++
		if !f.isns[key] {
			f.isns[key] = true
			f.tries[end]++
			clear(f.plain)
			f.answered = [2]bool{}
		}
		return true
	case s.Kind == KindSynAck:
		f.isns[isnKey{s.From, s.Seq}] = true
		return true
	case s.Kind.isRst():
		over := f.ended
		f.ended = f.ended || f.answered == [2]bool{true, true}
		return !over
	case s.Kind.IsICMP():
		return f.isns[isnKey{s.From, s.Seq}]
	case s.Kind == KindFin:
		f.ended = true
	case s.Kind == KindUnknown:
		return false
	}
	f.answered[f.index(s.From)] = true
	key := plainKey{s.From, s.Kind}
	if f.plain == nil {
		f.plain = map[plainKey]int{}
	}
	f.plain[key]++
	return f.plain[key] <= maxPlain
}

func (f *flow) index(from netip.AddrPort) int {
	if from == f.key.low {
		return 0
	}
	return 1
}

// isDuplicate recognises a frame that one capture holds twice: on its way in
// and out of a router or of the loopback interface.
func (f *flow) isDuplicate(s Segment) bool {
	for i := len(f.segments) - 1; i >= 0 && i >= len(f.segments)-8; i-- {
		seen := f.segments[i]
		gap := s.Time.Sub(seen.Time)
		if seen.Time.IsZero() || gap < 0 || gap > duplicateFrame {
			continue
		}
		seen.Packet, seen.Time, seen.TTL = s.Packet, s.Time, s.TTL
		if seen == s {
			return true
		}
	}
	return false
}
