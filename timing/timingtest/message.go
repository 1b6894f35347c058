package timingtest

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// size is the length of an NTP header without extensions, RFC 5905 section 7.3.
const size = 48

// request is what a client's message says that an answer repeats.
type request struct {
	version  byte
	poll     byte
	transmit uint64 // the client's, or a random number in its place
}

// parseRequest accepts client messages (mode 3) of versions 1 to 4.
func parseRequest(b []byte) (request, bool) {
	if len(b) < size || b[0]&7 != 3 {
		return request{}, false
	}
	version := b[0] >> 3 & 7
	if version < 1 || version > 4 {
		return request{}, false
	}
	return request{version: version, poll: b[2], transmit: binary.BigEndian.Uint64(b[40:])}, true
}

// message is the header of a server's answer (mode 4).
type message struct {
	leap, version, stratum, poll       byte
	precision                          int8
	rootDelay, rootDispersion          uint32
	reference                          string
	updated, origin, receive, transmit uint64
}

func (m message) encode() []byte {
	b := make([]byte, size)
	b[0] = m.leap<<6 | m.version<<3 | 4
	b[1], b[2], b[3] = m.stratum, m.poll, byte(m.precision)
	binary.BigEndian.PutUint32(b[4:], m.rootDelay)
	binary.BigEndian.PutUint32(b[8:], m.rootDispersion)
	copy(b[12:16], m.reference)
	binary.BigEndian.PutUint64(b[16:], m.updated)
	binary.BigEndian.PutUint64(b[24:], m.origin)
	binary.BigEndian.PutUint64(b[32:], m.receive)
	binary.BigEndian.PutUint64(b[40:], m.transmit)
	return b
}

// unixEpoch is 1 January 1970 in seconds of the NTP timescale, which began in
// 1900.
const unixEpoch = 2208988800

// stamp is the 64-bit NTP timestamp of a time: seconds modulo 2^32 (the era is
// not sent) and a fraction in units of 2^-32 s, rounded down.
func stamp(t time.Time) uint64 {
	fraction, _ := bits.Div64(uint64(t.Nanosecond()), 0, 1e9)
	return uint64(uint32(t.Unix()+unixEpoch))<<32 | fraction>>32
}

// short is the 32-bit NTP format: seconds in units of 2^-16.
func short(d time.Duration) uint32 { return uint32(d * (1 << 16) / time.Second) }
