package captures

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// batch is the packets of one window, where they lie.
type batch struct {
	data    []byte
	records []record
	first   int // number of its first packet
	links   []LinkType
	looks   []look     // its segments, where several workers file them
	lists   [][]uint32 // for each worker: which of them are of its shards
}

// record is a packet in a batch.
type record struct {
	time   int64 // nanoseconds since 1970, or noTime
	start  uint32
	length uint32 // captured
	cut    uint32 // bytes that the capture left out
	place  uint32 // interface
}

// arrival is a record as a worker takes it.
func (b *batch) arrival(i int) arrival {
	r := &b.records[i]
	return arrival{
		data: b.data[r.start : r.start+r.length : r.start+r.length], link: b.links[r.place],
		place: int(r.place), cut: int(r.cut), time: r.time, number: b.first + i,
	}
}

// fill reads the packets of a window, the first of which may move it. The
// error is that of Next for the first; another one shows at the next call.
func (r *Reader) fill(b *batch) error {
	b.first += len(b.records)
	b.records = b.records[:0]
	p, err := r.Next()
	if err != nil {
		return err
	}
	*b.add() = r.record(p)
	if r.format == FormatPcapNG {
		r.scanNG(b)
	} else {
		r.scanClassic(b)
	}
	b.data, b.links = r.buffer, r.links
	return nil
}

// add makes room for a record, which is to be filled where it lies: to copy it
// would take longer, as a copy waits for each of its parts.
func (b *batch) add() *record {
	n := len(b.records)
	if n == cap(b.records) {
		b.records = slices.Grow(b.records, 1)
	}
	b.records = b.records[:n+1]
	return &b.records[n]
}

func (r *Reader) record(p Packet) record {
	return record{
		time: nanosOf(p.Time), start: uint32(r.dataAt), length: uint32(len(p.Data)),
		cut: uint32(p.Length - len(p.Data)), place: uint32(p.Interface),
	}
}

// word reads 32 bits without asking an interface for the byte order.
func word(b []byte, swap bool) uint32 {
	v := binary.LittleEndian.Uint32(b)
	if swap {
		v = bits.ReverseBytes32(v)
	}
	return v
}

// scanClassic takes the packets that lie in the window, as nextClassic does,
// up to one that does not lie there whole.
func (r *Reader) scanClassic(b *batch) {
	swap, header, unit := r.order == binary.BigEndian, r.classic.header, int64(r.classic.unit)
	data, pos, records := r.buffer[:r.end], r.pos, b.records
	for len(data)-pos >= header {
		h := data[pos:][:16]
		seconds, fraction, captured, length := word(h, swap), word(h[4:], swap), word(h[8:], swap), word(h[12:], swap)
		if r.classic.minor < 4 {
			captured, length = r.classic.lengths(captured, length)
		}
		pos += header
		if captured > maxPacket || int(captured) > len(data)-pos {
			pos -= header
			break
		}
		if len(records) == cap(records) {
			records = slices.Grow(records, 1)
		}
		records = records[:len(records)+1]
		x := &records[len(records)-1]
		x.time = int64(seconds)*1_000_000_000 + int64(fraction)*unit
		x.start, x.length, x.cut, x.place = uint32(pos), captured, max(min(length, 1<<30), captured)-captured, 0
		pos += int(captured)
	}
	r.pos, b.records = pos, records
}

// scanNG takes the blocks that lie in the window whole, as nextNG does.
func (r *Reader) scanNG(b *batch) {
	for r.failed == nil {
		rest := r.buffer[r.pos:r.end]
		if len(rest) < 12 {
			return
		}
		swap := r.order == binary.BigEndian
		kind, total := word(rest, swap), word(rest[4:], swap)
		if kind == blockSection {
			total = sectionLength(rest)
		}
		if total < 12 || uint64(total) > uint64(len(rest)) {
			return
		}
		if kind == blockEnhanced && r.scanEnhanced(b, rest[:total], swap) {
			continue
		}
		p, found, err := r.block()
		if err != nil {
			r.failed = err
			return
		}
		if found {
			*b.add() = r.record(p)
		}
	}
}

// sectionLength is the length of a section by its own byte order.
func sectionLength(block []byte) uint32 {
	return word(block[4:], word(block[8:], false) != magicSection)
}

// scanEnhanced takes a packet block that is as it should be.
func (r *Reader) scanEnhanced(b *batch, block []byte, swap bool) bool {
	if len(block) < 32 || len(block) > maxBlock || len(block)%4 != 0 || word(block[len(block)-4:], swap) != uint32(len(block)) {
		return false
	}
	index, captured := uint64(word(block[8:], swap))+uint64(r.section), word(block[20:], swap)
	if index >= uint64(len(r.clocks)) || captured > maxPacket || int(captured) > len(block)-32 {
		return false
	}
	x := b.add()
	x.time = r.clocks[index].nanos(uint64(word(block[12:], swap))<<32 | uint64(word(block[16:], swap)))
	x.start, x.length, x.place = uint32(r.pos+28), captured, uint32(index)
	x.cut = uint32(wireLength(word(block[24:], swap), int(captured))) - captured
	r.pos += len(block)
	return true
}

// nanos is time in nanoseconds since 1970.
func (c blockClock) nanos(ticks uint64) int64 {
	switch {
	case c.offset == 0 && c.resolution == 6 && ticks < 1<<53:
		return int64(ticks) * 1000
	case c.offset == 0 && c.resolution == 9 && ticks < 1<<63:
		return int64(ticks)
	}
	return nanosOf(c.time(ticks))
}
