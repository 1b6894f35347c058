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
	hash      uint64 // of the rest
}

// number is an address as a number; one of IPv4 is in the lower half.
type number struct{ upper, lower uint64 }

func placeOf(file, place int, is6 bool) uint64 {
	p := uint64(file)<<33 | uint64(uint32(place))<<1
	if is6 {
		p |= 1
	}
	return p
}

// set orders the ends, and says whether the first one is low. ports are the
// first end's and, in the lower half, the other's. The hash is still to be set.
// It subtracts the ends, with the ports as the lowest digits, instead of
// branching: which one is low is a matter of chance, and a processor that
// guesses it wrong loses as much time as the rest of walk takes.
func (f *flowID) set(from, to number, ports uint32, place uint64) (fromLow bool) {
	_, less := bits.Sub64(uint64(ports&0xffff), uint64(ports>>16), 0)
	_, less = bits.Sub64(to.lower, from.lower, less)
	_, less = bits.Sub64(to.upper, from.upper, less) // 1: to is low
	upper, lower := (from.upper^to.upper)&-less, (from.lower^to.lower)&-less
	f.low = number{from.upper ^ upper, from.lower ^ lower}
	f.high = number{to.upper ^ upper, to.lower ^ lower}
	f.ports = bits.RotateLeft32(ports, int(less)*16)
	f.place = place
	return less == 0
}

// hashSeed differs in each process, so that no file can be made whose flows
// all meet in one slot.
var hashSeed = [4]uint64{rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1, rand.Uint64() | 1}

// setHash: flows are told apart by their hashes and their ports. The chance that
// a flow has the hash of one of a million others is 2^-44, and whoever makes a
// file does not know the seed.
func (f *flowID) setHash() {
	high, low := bits.Mul64(f.low.lower^hashSeed[0], f.high.lower^hashSeed[1])
	sum := high ^ low ^ f.place
	if f.place&1 != 0 {
		high, low = bits.Mul64(f.low.upper^hashSeed[2], f.high.upper^hashSeed[3])
		sum ^= high ^ low
	}
	high, low = bits.Mul64(sum^uint64(f.ports)<<32, hashSeed[2])
	f.hash = high ^ low
}

// tagOf is the part of a hash that a slot of a table holds.
func tagOf(hash uint64) uint32 { return uint32(hash >> 32) }

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
