package captures

import "strconv"

// LinkType says how the frames of an interface begin; the numbers are those of
// https://www.tcpdump.org/linktypes.html. It has 16 bits: SLL2 is 276.
type LinkType uint16

// The link types that this package can decode.
const (
	LinkNull     LinkType = 0
	LinkEthernet LinkType = 1
	LinkPPP      LinkType = 9
	LinkRaw      LinkType = 101
	LinkLoop     LinkType = 108
	LinkSLL      LinkType = 113
	LinkIPv4     LinkType = 228
	LinkIPv6     LinkType = 229
	LinkSLL2     LinkType = 276

	linkRawOther   LinkType = 12 // RAW in files of some systems
	linkRawOpenBSD LinkType = 14
	linkPPPSerial  LinkType = 50 // PPP in HDLC framing
	linkPPPEther   LinkType = 51 // PPPoE without Ethernet
)

var linkNames = map[LinkType]string{
	LinkNull: "null", LinkEthernet: "ethernet", LinkPPP: "ppp", LinkRaw: "raw", LinkLoop: "loop",
	LinkSLL: "linux-sll", LinkIPv4: "ipv4", LinkIPv6: "ipv6", LinkSLL2: "linux-sll2",
}

// isKnown reports whether frames of this type can be decoded.
func (t LinkType) isKnown() bool {
	switch t {
	case linkRawOther, linkRawOpenBSD, linkPPPSerial, linkPPPEther:
		return true
	}
	_, named := linkNames[t]
	return named
}

// String is the name in lower case, or the number of a type without one here.
func (t LinkType) String() string {
	if name, ok := linkNames[t]; ok {
		return name
	}
	return strconv.Itoa(int(t))
}

// MarshalText writes what String returns.
func (t LinkType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (t *LinkType) UnmarshalText(text []byte) error {
	for number, name := range linkNames {
		if name == string(text) {
			*t = number
			return nil
		}
	}
	n, err := strconv.ParseUint(string(text), 10, 16)
	*t = LinkType(n)
	return err
}
