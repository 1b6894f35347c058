package rawsock

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// Rejection is an ICMP error that ended, or troubled, an open.
type Rejection struct {
	Type, Code uint8 // of RFC 792, or of RFC 4443 where the socket is one of IPv6
}

// received finds, in a table as /proc/net/tcp has it, the remote ends of what
// stands in SYN-RECEIVED (state 03) at a local port (proc(5)).
func received(table string, local netip.AddrPort) []netip.AddrPort {
	var list []netip.AddrPort
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != "03" {
			continue
		}
		here, ok := tableAddress(fields[1])
		there, also := tableAddress(fields[2])
		if ok && also && here == unmap(local) {
			list = append(list, there)
		}
	}
	return list
}

// tableAddress reads an endpoint as the table has it: 32-bit words in the
// machine's own byte order, in hexadecimal digits.
func tableAddress(text string) (netip.AddrPort, bool) {
	host, digits, _ := strings.Cut(text, ":")
	port, err := strconv.ParseUint(digits, 16, 16)
	raw, hexErr := hex.DecodeString(host)
	if err != nil || hexErr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	if littleEndian {
		for w := 0; w < len(raw); w += 4 {
			raw[w], raw[w+1], raw[w+2], raw[w+3] = raw[w+3], raw[w+2], raw[w+1], raw[w]
		}
	}
	addr, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), ok
}
