package captures

import (
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

// set orders the ends, and says whether the first one is low. ports are the
// first end's and, in the lower half, the other's. The tag is still to be set.
func (f *flowID) set(from, to [2]uint64, ports uint32, place uint64) (fromLow bool) {
	f.place = place
	if isBefore(from, to, ports) {
		f.low, f.high, f.ports = from, to, ports
		return true
	}
	f.low, f.high, f.ports = to, from, bits.RotateLeft32(ports, 16)
	return false
}

func isBefore(from, to [2]uint64, ports uint32) bool {
	if from[0] != to[0] {
		return from[0] < to[0]
	}
	return from[1] < to[1] || from[1] == to[1] && ports>>16 <= ports&0xffff
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
func (f *flowID) shard() int { return shardOf(f.ports) }

// shardOf is the same for both directions, so that it is known before the ends
// are ordered.
func shardOf(ports uint32) int { return int((ports>>16+ports&0xffff)*0x9e3779b1>>16) % shards }

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
