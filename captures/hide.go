package captures

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/gopacket/layers"
)

// innermost is the IP packet in a frame that the segment is in, without what
// carries it: Ethernet addresses, tunnels.
func (d *Decoder) innermost(link LinkType, frame []byte) ([]byte, bool) {
	if _, err := d.Decode(link, frame[:len(frame):len(frame)]); err != nil {
		return nil, false
	}
	var packet []byte
	for _, layer := range d.decoded {
		switch layer {
		case layers.LayerTypeIPv4:
			packet = d.ip4.Contents[:min(len(d.ip4.Contents)+len(d.ip4.Payload), cap(d.ip4.Contents))]
		case layers.LayerTypeIPv6:
			packet = d.ip6.Contents[:min(len(d.ip6.Contents)+len(d.ip6.Payload), cap(d.ip6.Contents))]
		}
	}
	return packet, packet != nil
}

// hide replaces the addresses in an IP packet, also in what an ICMP error
// quotes, and takes away what it carries and every option that may name a host.
// Checksums stay right if they were right (RFC 1624). It reports false for a
// packet of a form that may hold addresses elsewhere.
func (p *Pseudonyms) hide(packet []byte) ([]byte, bool) {
	header, protocol, ok := addresses(packet)
	if !ok {
		return nil, false
	}
	before := pseudoHeader(packet)
	p.hideHeader(packet, header)
	change := difference(before, pseudoHeader(packet))
	payload := packet[header:]
	switch {
	case protocol == 6:
		n, ok := hideTCP(payload, change)
		return packet[:header+n], ok
	case protocol == 1:
		n, ok := p.hideQuote(payload, 0)
		return packet[:header+n], ok
	case protocol == 58:
		n, ok := p.hideQuote(payload, change)
		return packet[:header+n], ok
	}
	return nil, false
}

// addresses finds where the header ends, and what comes next. Extension headers
// are not understood here.
func addresses(packet []byte) (header int, protocol byte, ok bool) {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		header = int(packet[0]&15) * 4
		return header, packet[9], header >= 20 && header <= len(packet) && binary.BigEndian.Uint16(packet[6:])&0x1fff == 0
	case len(packet) >= 40 && packet[0]>>4 == 6:
		return 40, packet[6], true
	}
	return 0, 0, false
}

// pseudoHeader is the sum of the addresses, as checksums have it.
func pseudoHeader(packet []byte) uint32 {
	if packet[0]>>4 == 4 {
		return sum16(packet[12:20])
	}
	return sum16(packet[8:40])
}

func sum16(b []byte) (sum uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	return sum
}

// difference is what a sum changed by, in one's complement.
func difference(before, after uint32) uint32 { return after + uint32(^fold(before)) }

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// correct applies a change of what a checksum covers (RFC 1624 section 3).
func correct(checksum []byte, change uint32) {
	if change != 0 {
		binary.BigEndian.PutUint16(checksum, ^fold(uint32(^binary.BigEndian.Uint16(checksum))+change))
	}
}

func (p *Pseudonyms) hideHeader(packet []byte, header int) {
	if packet[0]>>4 == 6 {
		p.hideAddress(packet[8:24])
		p.hideAddress(packet[24:40])
		return
	}
	before := sum16(packet[12:header])
	p.hideAddress(packet[12:16])
	p.hideAddress(packet[16:20])
	for i := range packet[20:header] {
		packet[20+i] = 1 // no operation: record route and source routes hold addresses
	}
	correct(packet[10:12], difference(before, sum16(packet[12:header])))
}

func (p *Pseudonyms) hideAddress(b []byte) {
	a, _ := netip.AddrFromSlice(b)
	copy(b, p.Of(a).AsSlice())
}

// hideTCP keeps the header, of the options those that say nothing about hosts,
// and no data. It returns how much it kept.
func hideTCP(tcp []byte, change uint32) (int, bool) {
	if len(tcp) < 20 {
		return min(len(tcp), 8), len(tcp) >= 8 // ports and number, as ICMP errors quote
	}
	header := min(max(20, int(tcp[12]>>4)*4), len(tcp))
	before := sum16(tcp[20:header])
	hideOptions(tcp[20:header])
	correct(tcp[16:18], change+difference(before, sum16(tcp[20:header])))
	return header, true
}

// hideOptions leaves end, padding, MSS, window scale, SACK and timestamps.
func hideOptions(options []byte) {
	for i := 0; i < len(options); {
		kind, length := options[i], 1
		if kind == tcpEnd {
			clear(options[i:]) // whatever stands there
			return
		}
		if kind != tcpNop {
			if i+1 >= len(options) || options[i+1] < 2 || i+int(options[i+1]) > len(options) {
				clear(options[i:])
				return
			}
			length = int(options[i+1])
		}
		if kind > 5 && kind != 8 {
			for j := range length {
				options[i+j] = 1
			}
		}
		i += length
	}
}

// hideQuote hides what an ICMP error quotes; change is that of its own
// pseudo-header, which ICMPv6 has.
func (p *Pseudonyms) hideQuote(icmp []byte, change uint32) (int, bool) {
	if len(icmp) < 8 {
		return 0, false
	}
	quote := icmp[8:]
	header, protocol, ok := addresses(quote)
	if !ok || protocol != 6 {
		return 0, false
	}
	quoted := sum16(quote)
	before := pseudoHeader(quote)
	p.hideHeader(quote, header)
	n, ok := hideTCP(quote[header:], difference(before, pseudoHeader(quote)))
	correct(icmp[2:4], change+difference(quoted, sum16(quote)))
	return 8 + header + n, ok
}
