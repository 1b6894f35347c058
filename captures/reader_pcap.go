package captures

import (
	"encoding/binary"
	"time"
)

// The magic numbers of classic files as the writing machine saw them.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34
)

// classicLayout is how the packet headers of a classic file are laid out.
type classicLayout struct {
	header int    // bytes of one
	unit   uint32 // nanoseconds of one unit of the time's fraction
	// The captured length comes first since version 2.4. Before 2.3 it came
	// second, and in 2.3 either may be (libpcap, sf-pcap.c): it is the lesser.
	minor uint16
}

// recognise sets format and byte order from the magic number.
func (r *Reader) recognise(magic []byte) bool {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		r.order, r.classic = order, classicLayout{header: 16, unit: 1000}
		switch order.Uint32(magic) {
		case magicMicro:
			r.format = FormatPcap
		case magicNano:
			r.format, r.classic.unit = FormatPcapNano, 1
		case magicModified:
			r.format, r.classic.header = FormatPcapModified, 24
		default:
			continue
		}
		return true
	}
	return false
}

func (r *Reader) openClassic() error {
	header, err := r.take(24)
	if err != nil {
		return err
	}
	if major := r.order.Uint16(header[4:]); major != 2 {
		return r.malformed("pcap version %d is not 2", major)
	}
	r.classic.minor = r.order.Uint16(header[6:])
	// The upper 16 bits of the last word hold the length of a frame check
	// sequence, which decoding does not need.
	r.interfaces = []Interface{{
		LinkType: LinkType(r.order.Uint32(header[20:])),
		SnapLen:  int(min(r.order.Uint32(header[16:]), 1<<30)),
	}}
	r.links = []LinkType{r.interfaces[0].LinkType}
	r.read = r.nextClassic
	return nil
}

// nextClassic tolerates a captured length beyond the file's snaplen, as many
// writers produce it, but not one beyond maxPacket.
func (r *Reader) nextClassic() (Packet, error) {
	h, err := r.header(r.classic.header)
	if err != nil {
		return Packet{}, err
	}
	seconds, fraction := r.order.Uint32(h), r.order.Uint32(h[4:])
	captured, length := r.classic.lengths(r.order.Uint32(h[8:]), r.order.Uint32(h[12:]))
	if captured > maxPacket {
		return Packet{}, r.malformed("a packet claims %d captured bytes, and %d are the limit", captured, maxPacket)
	}
	data, err := r.take(int(captured))
	if err != nil {
		return Packet{}, err
	}
	r.dataAt = r.pos - len(data)
	return Packet{
		Time:   time.Unix(int64(seconds), int64(fraction)*int64(r.classic.unit)).UTC(),
		Data:   data[:len(data):len(data)],
		Length: wireLength(length, len(data)),
	}, nil
}

// lengths puts the two lengths of a packet header into the order of version 2.4.
func (c classicLayout) lengths(first, second uint32) (captured, length uint32) {
	if c.minor < 3 || c.minor == 3 && first > second {
		return second, first
	}
	return first, second
}

// wireLength is the length on the wire, which some writers claim to be less
// than what they captured.
func wireLength(claimed uint32, captured int) int {
	return max(int(min(claimed, 1<<30)), captured)
}
