package captures

import (
	"math/bits"
	"time"
)

// blockClock turns the timestamps of one pcapng interface into times.
type blockClock struct {
	resolution byte  // if_tsresol: 10^-n s, or 2^-n s where the highest bit is set
	offset     int64 // if_tsoffset: seconds to add
}

// grain is the unit of the timestamps, rounded up.
func (c blockClock) grain() time.Duration {
	n := c.resolution & 0x7f
	if c.resolution&0x80 != 0 {
		return time.Second>>min(n, 63) + 1
	}
	return time.Second / time.Duration(power10(uint(min(n, 9))))
}

// The seconds since 1970 that a time.Time can hold and marshal: the years 1 to
// 9999.
const (
	firstSecond = -62135596800
	lastSecond  = 253402300799
)

// time is the zero Time where the result lies outside the years 1 to 9999.
func (c blockClock) time(ticks uint64) time.Time {
	seconds, nanoseconds := splitDecimal(ticks, uint(c.resolution&0x7f))
	if c.resolution&0x80 != 0 {
		seconds, nanoseconds = splitBinary(ticks, uint(c.resolution&0x7f))
	}
	if seconds > lastSecond || c.offset > lastSecond || c.offset < firstSecond {
		return time.Time{}
	}
	sum := int64(seconds) + c.offset
	if sum < firstSecond || sum > lastSecond {
		return time.Time{}
	}
	return time.Unix(sum, int64(nanoseconds)).UTC()
}

// splitDecimal splits units of 10^-n s. 10^20 exceeds 64 bits, so that from
// there on ticks holds no whole second, and from 10^29 on no nanosecond.
func splitDecimal(ticks uint64, n uint) (seconds, nanoseconds uint64) {
	switch {
	case n <= 9:
		return ticks / power10(n), ticks % power10(n) * power10(9-n)
	case n <= 19:
		return ticks / power10(n), ticks % power10(n) / power10(n-9)
	case n <= 28:
		return 0, ticks / power10(n-9)
	}
	return 0, 0
}

// splitBinary splits units of 2^-n s.
func splitBinary(ticks uint64, n uint) (seconds, nanoseconds uint64) {
	fraction := ticks
	if n < 64 {
		seconds, fraction = ticks>>n, ticks&(1<<n-1)
	}
	high, low := bits.Mul64(fraction, 1e9)
	if n >= 64 {
		return seconds, high >> (n - 64)
	}
	return seconds, high<<(64-n) | low>>n
}

func power10(n uint) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
