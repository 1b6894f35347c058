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
	low, high number // addresses
	place     uint64 // file<<33 | interface<<1 | whether the addresses are IPv6
	ports     uint32 // of low, and in the lower half of high
	tag       uint32 // a hash of the rest, which tells most others apart
}

// number is an address as a number; one of IPv4 is in the lower half.
type number struct{ upper, lower uint64 }

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
func (f *flowID) set(from, to number, ports uint32, place uint64) (fromLow bool) {
	f.place = place
	if fromLow = from.upper < to.upper || from.upper == to.upper &&
		(from.lower < to.lower || from.lower == to.lower && ports>>16 <= ports&0xffff); !fromLow {
		from, to, ports = to, from, bits.RotateLeft32(ports, 16)
	}
	f.low, f.high, f.ports = from, to, ports
	return fromLow
}

// hashSeed differs in each process, so that no file can be made whose flows
// all meet in one slot.
var hashSeed = [4]uint64{rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1}

func (f *flowID) setTag() {
	high, low := bits.Mul64(f.low.lower^hashSeed[0], f.high.lower^hashSeed[1])
	sum := high ^ low ^ f.place
	if f.place&1 != 0 {
		high, low = bits.Mul64(f.low.upper^hashSeed[2], f.high.upper^hashSeed[3])
		sum ^= high ^ low
	}
	high, low = bits.Mul64(sum^uint64(f.ports)<<32, hashSeed[2])
	f.tag = uint32(high ^ low>>32)
}

// shardOf is the same in every process, since what is kept depends on it, and
// for both directions, so that it is known before the ends are ordered.
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

func addrOf(n number, is6 bool) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], n.upper)
	binary.BigEndian.PutUint64(b[8:], n.lower)
	if is6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[12:]))
}

func numberOf(a netip.Addr) number {
	if a.Is4() {
		b := a.As4()
		return number{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}
