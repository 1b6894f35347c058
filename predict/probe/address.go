package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/pion/stun/v3"
)

// address reads an address attribute; the zero value if it is absent. The
// codec accepts a value that is too short and fills it up with zeros, so its
// length is checked here (RFC 8489 section 14.1: family 1 is IPv4, 2 is
// IPv6).
func address(m *stun.Message, attr stun.AttrType) (netip.AddrPort, error) {
	value, err := m.Get(attr)
	if err != nil {
		return netip.AddrPort{}, nil
	}
	if len(value) < 4 || len(value) != addressSize[value[1]] {
		return netip.AddrPort{}, fmt.Errorf("%w: %v of %d bytes", ErrMalformed, attr, len(value))
	}
	raw := make([]byte, len(value))
	copy(raw, value)
	if attr == stun.AttrXORMappedAddress {
		unmask(raw, m.Raw)
	}
	ip, _ := netip.AddrFromSlice(raw[4:])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(raw[2:])), nil
}

// addressSize is the length of an address attribute by its family byte.
var addressSize = map[byte]int{1: 8, 2: 20}

// unmask undoes the XOR of RFC 8489 section 14.2: the port with the first two
// bytes of the magic cookie, the address with cookie and transaction
// identifier, which stand at offset 4 of the message.
func unmask(value, message []byte) {
	for i := range 2 {
		value[2+i] ^= message[4+i]
	}
	for i := range value[4:] {
		value[4+i] ^= message[4+i]
	}
}
