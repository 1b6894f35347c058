package captures

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"
)

const (
	sameAttempt    = 2 * time.Minute
	duplicateFrame = 50 * time.Millisecond // far below the least retransmission time-out of a SYN, 1 s (RFC 6298)
)

// Analyzer collects openings from packets as they come, from one vantage point
// or several. The zero value is ready. It is not safe for concurrent use.
type Analyzer struct {
	shards  [shards]shard
	worker  *worker // of Add
	flows   []*flow // the openings that are judged in full
	orphans orphans
	hide    *Pseudonyms // nil: addresses are shown
	files   []FileCounts
	offsets []time.Duration
	grains  []time.Duration // units of the files' times, where they are known
}

// FileCounts says what became of the packets of one file.
type FileCounts struct {
	Packets int // fed
	TCP     int // segments, and ICMP errors about one
	Damaged int // frames that could not be decoded
	Unknown int // frames of link types that are not understood
	Dropped int // segments of openings that were left out because of the Analyzer's bounds
}

// flowKey is a pair of ends at one vantage point, in one order for both
// directions.
type flowKey struct {
	file, place int
	low, high   netip.AddrPort
}

// flow is one opening at one vantage point, to be judged.
type flow struct {
	key      flowKey
	segments []Segment
	isns     map[isnKey]bool
	syns     [2]int        // SYNs of each end (low, high), all of them
	tries    [2]int        // different sequence numbers in them
	grain    time.Duration // by how much its times may be rounded
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

func (a *Analyzer) offset(file int) time.Duration {
	if file < len(a.offsets) {
		return a.offsets[file]
	}
	return 0
}

// grain is the unit of a file's times; 0 where it is not known.
func (a *Analyzer) grain(file int) time.Duration {
	if file < len(a.grains) {
		return a.grains[file]
	}
	return 0
}

// Counts says what became of the packets of a file.
func (a *Analyzer) Counts(file int) FileCounts {
	if file < 0 || file >= len(a.files) {
		return FileCounts{}
	}
	counts := a.files[file]
	for i := range a.shards {
		counts.Dropped += a.shards[i].dropped[file]
	}
	return counts
}

// counts makes room for a file's.
func (a *Analyzer) counts(file int) *FileCounts {
	for len(a.files) <= file {
		a.files = append(a.files, FileCounts{})
	}
	return &a.files[file]
}

// Add takes the next packet of a file. Files may be fed one after the other or
// interleaved; file numbers count from 0, and a negative one is ignored. The packet's data is not kept.
func (a *Analyzer) Add(file int, link LinkType, p Packet) {
	if file < 0 {
		return
	}
	if a.worker == nil {
		a.worker = newWorker(a)
	}
	counts := a.counts(file)
	counts.Packets++
	a.worker.counts = FileCounts{}
	a.worker.begin(file, a.offset(file))
	a.worker.add(&arrival{
		data: p.Data, link: link, place: p.Interface, cut: p.Length - len(p.Data), time: nanosOf(p.Time), number: counts.Packets,
	})
	counts.add(a.worker.counts)
}

func (c *FileCounts) add(more FileCounts) {
	c.TCP += more.TCP
	c.Damaged += more.Damaged
	c.Unknown += more.Unknown
}

// isDamage tells the two errors of Decode apart.
func isDamage(err error) bool { return !errors.Is(err, ErrNotTCP) }

// early counts the openings that had to be judged before they were over.
func (a *Analyzer) early() (n int) {
	for i := range a.shards {
		n += a.shards[i].early
	}
	return n
}

// opened is an opening that is kept.
type opened struct {
	shard       *shard
	number      uint32
	file, first uint64 // its first packet
}

// openings returns those that are kept or in progress in the order of their
// first SYN, and counts the others.
func (a *Analyzer) openings() (list []opened, counts verdictCounts) {
	for i := range a.shards {
		s := &a.shards[i]
		numbers, counted := s.all()
		for _, n := range numbers {
			d := s.details.at(n)
			list = append(list, opened{s, n, d.place >> 33, d.first})
		}
		for v, n := range counted {
			counts[v] += n
		}
	}
	slices.SortFunc(list, func(x, y opened) int { return cmp.Or(cmp.Compare(x.file, y.file), cmp.Compare(x.first, y.first)) })
	return list, counts
}
