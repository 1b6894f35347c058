package captures

import "encoding/binary"

// The kinds of TCP options that are looked at (RFC 9293 section 3.2, RFC 7323
// and RFC 2018).
const (
	tcpEnd           = 0
	tcpNop           = 1
	tcpMSS           = 2
	tcpWindowScale   = 3
	tcpSACKPermitted = 4
	tcpTimestamps    = 8
)

// read finds in a TCP header, of 20 bytes at least, what gopacket would
// without building its layer; a test compares the two. Where the options are
// damaged, what comes before the damage counts.
func (o *Options) read(header []byte) {
	end := int(header[12]>>4) * 4
	if end < 20 || end > len(header) {
		return
	}
	list := header[20:end]
	if len(list) == 12 && binary.BigEndian.Uint32(list) == 0x0101080a { // as RFC 7323 appendix A recommends
		o.TSval, o.TSecr, o.HasTimestamps = binary.BigEndian.Uint32(list[4:]), binary.BigEndian.Uint32(list[8:]), true
		o.Layout = 0x811
		return
	}
	for at := 0; len(list) > 0 && list[0] != tcpEnd; at += 4 {
		kind, length := list[0], 1
		o.Layout |= uint64(min(kind, 15)) << at
		if kind != tcpNop {
			if length = lengthOf(list); length == 0 {
				o.SACKPermitted = o.SACKPermitted || kind == tcpSACKPermitted
				return
			}
			o.take(kind, list[2:length])
		}
		list = list[length:]
	}
}

// lengthOf is the length of the first option of a list that is no padding; 0 if
// it is none.
func lengthOf(list []byte) int {
	if len(list) < 2 || list[1] < 2 || int(list[1]) > len(list) {
		return 0
	}
	return int(list[1])
}

// take notes one option.
func (o *Options) take(kind byte, data []byte) {
	switch {
	case kind == tcpMSS && len(data) == 2:
		o.MSS = binary.BigEndian.Uint16(data)
	case kind == tcpWindowScale && len(data) == 1:
		o.WindowScale, o.HasWindowScale = data[0], true
	case kind == tcpSACKPermitted:
		o.SACKPermitted = true
	case kind == tcpTimestamps && len(data) == 8:
		o.TSval, o.TSecr, o.HasTimestamps = binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]), true
	}
}
