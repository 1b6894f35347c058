package captures

import "encoding/binary"

// Block types and option codes of draft-ietf-opsawg-pcapng section 4.
const (
	blockSection   = 0x0a0d0d0a
	magicSection   = 0x1a2b3c4d // in the byte order of the section
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6

	optionEnd         = 0
	optionComment     = 1
	optionName        = 2
	optionFlags       = 2
	optionDescription = 3
	optionResolution  = 9
	optionOffset      = 14
)

func (r *Reader) openNG() error {
	r.format = FormatPcapNG
	r.read = r.nextNG
	head, err := r.take(8)
	if err != nil {
		return err
	}
	return r.readSection([4]byte(head[4:]))
}

// nextNG reads blocks until one holds a packet.
func (r *Reader) nextNG() (Packet, error) {
	for {
		if p, found, err := r.block(); found || err != nil {
			return p, err
		}
	}
}

// block reads one block; found reports whether it holds a packet.
func (r *Reader) block() (p Packet, found bool, err error) {
	head, err := r.header(8)
	if err != nil {
		return p, false, err
	}
	switch kind, total := r.order.Uint32(head), r.order.Uint32(head[4:]); kind {
	case blockEnhanced, blockSimple, blockPacket:
		body, err := r.body(total, 8)
		if err != nil {
			return p, false, err
		}
		p, err = r.readPacket(kind, body)
		return p, err == nil, err
	case blockSection:
		err = r.readSection([4]byte(head[4:]))
	case blockInterface:
		err = r.readInterface(total)
	default:
		err = r.skip(total)
	}
	return p, false, err
}

// body reads the rest of a block whose total length is given and of which some
// bytes are consumed. It checks that the length is repeated at the end.
func (r *Reader) body(total uint32, consumed int) ([]byte, error) {
	if int64(total) < int64(consumed)+4 || total%4 != 0 {
		return nil, r.malformed("a block claims to be %d bytes long", total)
	}
	if total > maxBlock {
		return nil, r.malformed("a block claims %d bytes, and %d are the limit", total, maxBlock)
	}
	data, err := r.take(int(total) - consumed)
	if err != nil {
		return nil, err
	}
	body, trailer := data[:len(data)-4], r.order.Uint32(data[len(data)-4:])
	if trailer != total {
		return nil, r.malformed("a block claims to be %d bytes long at its start and %d at its end", total, trailer)
	}
	return body, nil
}

// skip passes over a block without holding it: name resolution, statistics,
// secrets, journal entries and what others may have defined.
func (r *Reader) skip(total uint32) error {
	if total < 12 || total%4 != 0 {
		return r.malformed("a block claims to be %d bytes long", total)
	}
	if wanted := int64(total) - 8; r.discard(wanted) < wanted {
		_, err := r.take(1)
		return err
	}
	return nil
}

// readSection begins a section: the byte order may change, and interfaces are
// numbered from 0 again.
func (r *Reader) readSection(length [4]byte) error {
	magic, err := r.take(4)
	if err != nil {
		return err
	}
	switch uint32(magicSection) {
	case binary.LittleEndian.Uint32(magic):
		r.order = binary.LittleEndian
	case binary.BigEndian.Uint32(magic):
		r.order = binary.BigEndian
	default:
		return r.malformed("a section header has no byte-order magic")
	}
	total := r.order.Uint32(length[:])
	if total < 28 {
		return r.malformed("a section header claims to be %d bytes long", total)
	}
	body, err := r.body(total, 12)
	if err != nil {
		return err
	}
	if major := r.order.Uint16(body); major != 1 {
		return r.malformed("pcapng version %d is not 1", major)
	}
	r.section = len(r.interfaces)
	return nil
}

func (r *Reader) readInterface(total uint32) error {
	body, err := r.body(total, 8)
	if err != nil {
		return err
	}
	if len(body) < 8 {
		return r.malformed("an interface block is too short")
	}
	if len(r.interfaces) == maxInterfaces {
		return r.malformed("more than %d interfaces", maxInterfaces)
	}
	i := Interface{LinkType: LinkType(r.order.Uint16(body)), SnapLen: int(min(r.order.Uint32(body[4:]), 1<<30))}
	clock := blockClock{resolution: 6}
	for code, value := range options(r.order, body[8:]) {
		switch {
		case code == optionName:
			i.Name = string(value[:min(len(value), maxName)])
		case code == optionDescription:
			i.Description = string(value[:min(len(value), maxName)])
		case code == optionResolution && len(value) >= 1:
			clock.resolution = value[0]
		case code == optionOffset && len(value) >= 8:
			clock.offset = int64(r.order.Uint64(value))
		}
	}
	r.interfaces = append(r.interfaces, i)
	r.clocks = append(r.clocks, clock)
	r.links = append(r.links, i.LinkType)
	return nil
}

func (r *Reader) readPacket(kind uint32, body []byte) (Packet, error) {
	if kind == blockSimple {
		return r.readSimple(body)
	}
	if len(body) < 20 {
		return Packet{}, r.malformed("a packet block is too short")
	}
	id := r.order.Uint32(body)
	if kind == blockPacket {
		id = uint32(r.order.Uint16(body))
	}
	if uint64(id) >= uint64(len(r.interfaces)-r.section) {
		return Packet{}, r.malformed("a packet names interface %d, of which nothing was said", id)
	}
	captured := r.order.Uint32(body[12:])
	if captured > maxPacket || int(captured) > len(body)-20 {
		return Packet{}, r.malformed("a packet claims %d captured bytes in a block with room for %d", captured, len(body)-20)
	}
	index := r.section + int(id)
	end := 20 + int(captured)
	r.dataAt = r.pos - len(body) - 4 + 20
	p := Packet{
		Time:      r.clocks[index].time(uint64(r.order.Uint32(body[4:]))<<32 | uint64(r.order.Uint32(body[8:]))),
		Data:      body[20:end:end],
		Length:    wireLength(r.order.Uint32(body[16:]), int(captured)),
		Interface: index,
	}
	if rest := body[min(len(body), (end+3)&^3):]; len(rest) > 0 {
		r.readPacketOptions(&p, rest)
	}
	return p, nil
}

func (r *Reader) readPacketOptions(p *Packet, list []byte) {
	for code, value := range options(r.order, list) {
		switch {
		case code == optionComment && len(p.Comments) < maxComments:
			p.Comments = append(p.Comments, string(value))
		case code == optionFlags && len(value) >= 4:
			p.Direction = Direction(r.order.Uint32(value) & 3 % 3)
		}
	}
}

// readSimple reads a packet without a time, of the section's first interface.
func (r *Reader) readSimple(body []byte) (Packet, error) {
	if len(body) < 4 {
		return Packet{}, r.malformed("a simple packet block is too short")
	}
	if r.section == len(r.interfaces) {
		return Packet{}, r.malformed("a simple packet comes before any interface")
	}
	length := r.order.Uint32(body)
	captured := min(uint64(length), uint64(len(body)-4), maxPacket)
	if snap := r.interfaces[r.section].SnapLen; snap > 0 {
		captured = min(captured, uint64(snap))
	}
	r.dataAt = r.pos - len(body) - 4 + 4
	return Packet{Data: body[4 : 4+captured : 4+captured], Length: wireLength(length, int(captured)), Interface: r.section}, nil
}

// options yields code and value of each option. A list that runs over its
// block ends there: what was read before it is still good.
func options(order binary.ByteOrder, list []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(list) >= 4 {
			code, length := order.Uint16(list), int(order.Uint16(list[2:]))
			list = list[4:]
			if code == optionEnd || length > len(list) {
				return
			}
			if !yield(code, list[:length]) {
				return
			}
			list = list[min(len(list), (length+3)&^3):]
		}
	}
}
