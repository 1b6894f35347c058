package captures

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
)

// flowID is a pair of ends at one vantage point, in one order for both
// directions, without pointers.
type flowID struct {
	low, high [2]uint64 // addresses as numbers; an IPv4 address is in the second half
	place     uint64    // file<<33 | interface<<1 | whether the addresses are IPv6
	ports     uint32    // of low, and in the lower half of high
	tag       uint32    // a hash of the rest, which tells most others apart
}

// is compares without a call.
func (f *flowID) is(g *flowID) bool {
	return f.low == g.low && f.high == g.high && f.place == g.place && f.ports == g.ports
}

func placeOf(file, place int, is6 bool) uint64 {
	p := uint64(file)<<33 | uint64(uint32(place))<<1
	if is6 {
		p |= 1
	}
	return p
}

// newFlowID orders the ends, and says whether the first one is low. Its tag is
// still to be set.
func newFlowID(from, to [2]uint64, fromPort, toPort uint16, place uint64) (flowID, bool) {
	order := cmp.Compare(from[1], to[1])
	if from[0] != to[0] {
		order = cmp.Compare(from[0], to[0])
	}
	if order < 0 || order == 0 && fromPort <= toPort {
		return flowID{low: from, high: to, place: place, ports: uint32(fromPort)<<16 | uint32(toPort)}, true
	}
	return flowID{low: to, high: from, place: place, ports: uint32(toPort)<<16 | uint32(fromPort)}, false
}

// hashSeed differs in each process, so that no file can be made whose flows
// all meet in one slot.
var hashSeed = [4]uint64{rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1}

func (f *flowID) setTag() {
	high, low := bits.Mul64(f.low[1]^hashSeed[0], f.high[1]^hashSeed[1])
	sum := high ^ low ^ f.place
	if f.place&1 != 0 {
		high, low = bits.Mul64(f.low[0]^hashSeed[2], f.high[0]^hashSeed[3])
		sum ^= high ^ low
	}
	high, low = bits.Mul64(sum^uint64(f.ports)<<32, hashSeed[2])
	f.tag = uint32(high ^ low>>32)
}

// shard is the same in every process, since what is kept depends on it.
func (f *flowID) shard() int { return int(f.ports*0x9e3779b1>>16^f.ports) % shards }

// key is the same in the words of the rest of the package.
func (f *flowID) key() flowKey {
	is6 := f.place&1 != 0
	return flowKey{
		file: int(f.place >> 33), place: int(f.place >> 1 & 0x7fffffff),
		low:  netip.AddrPortFrom(addrOf(f.low, is6), uint16(f.ports>>16)),
		high: netip.AddrPortFrom(addrOf(f.high, is6), uint16(f.ports)),
	}
}

func addrOf(number [2]uint64, is6 bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], number[0])
	binary.BigEndian.PutUint64(b[8:], number[1])
	if is6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[12:]))
}

func numberOf(a netip.Addr) [2]uint64 {
	if a.Is4() {
		b := a.As4()
		return [2]uint64{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return [2]uint64{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}
