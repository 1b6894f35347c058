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

// recognise sets format and byte order from the magic number.
func (r *Reader) recognise(magic []byte) bool {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		r.order, r.classicHeader = order, 16
		switch order.Uint32(magic) {
		case magicMicro:
			r.format = FormatPcap
		case magicNano:
			r.format = FormatPcapNano
		case magicModified:
			r.format, r.classicHeader = FormatPcapModified, 24
		default:
			continue
		}
		return true
	}
	return false
}

func (r *Reader) openClassic() error {
	var header [24]byte
	if err := r.fill(header[:], false); err != nil {
		return err
	}
	if major := r.order.Uint16(header[4:]); major != 2 {
		return r.malformed("pcap version %d is not 2", major)
	}
	// The upper 16 bits of the last word hold the length of a frame check
	// sequence, which decoding does not need.
	r.interfaces = []Interface{{
		LinkType: LinkType(r.order.Uint32(header[20:])),
		SnapLen:  int(min(r.order.Uint32(header[16:]), 1<<30)),
	}}
	r.read = r.nextClassic
	return nil
}

// nextClassic tolerates a captured length beyond the file's snaplen, as many
// writers produce it, but not one beyond maxPacket.
func (r *Reader) nextClassic() (Packet, error) {
	var header [24]byte
	h := header[:r.classicHeader]
	if err := r.fill(h, true); err != nil {
		return Packet{}, err
	}
	captured := r.order.Uint32(h[8:])
	if captured > maxPacket {
		return Packet{}, r.malformed("a packet claims %d captured bytes, and %d are the limit", captured, maxPacket)
	}
	data, err := r.take(int(captured))
	if err != nil {
		return Packet{}, err
	}
	fraction := time.Duration(r.order.Uint32(h[4:])) * time.Microsecond
	if r.format == FormatPcapNano {
		fraction = time.Duration(r.order.Uint32(h[4:]))
	}
	return Packet{
		Time:   time.Unix(int64(r.order.Uint32(h)), int64(fraction)).UTC(),
		Data:   data,
		Length: wireLength(r.order.Uint32(h[12:]), len(data)),
	}, nil
}

// wireLength is the length on the wire, which some writers claim to be less
// than what they captured.
func wireLength(claimed uint32, captured int) int {
	return max(int(min(claimed, 1<<30)), captured)
}
