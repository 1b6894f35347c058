package rendezvous

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// DefaultPort is the coordinator's TCP port where none is named.
const DefaultPort = 7770

// Address says where a coordinator is and which key it must prove:
// KEY@HOST:PORT, as the coordinator prints it.
type Address struct {
	Key  KeyID
	Host string // a name or an IP literal, without brackets
	Port uint16
}

// ParseAddress reads KEY@HOST[:PORT].
func ParseAddress(s string) (Address, error) {
	key, place, ok := strings.Cut(s, "@")
	if !ok {
		return Address{}, fmt.Errorf("the coordinator %q lacks its key: copy the whole string KEY@HOST:PORT that it printed", s)
	}
	id, err := ParseKeyID(key)
	if err != nil {
		return Address{}, err
	}
	host, port, err := SplitHostPort(place, DefaultPort)
	if err != nil {
		return Address{}, err
	}
	return Address{Key: id, Host: host, Port: port}, nil
}

// String is the inverse of ParseAddress.
func (a Address) String() string { return string(a.Key) + "@" + a.HostPort() }

// HostPort is the place without the key, as net.Dial takes it.
func (a Address) HostPort() string { return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))) }

// SplitHostPort splits HOST[:PORT], with IPv6 literals in brackets where a port
// follows them.
func SplitHostPort(s string, defaultPort uint16) (host string, port uint16, err error) {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	if net.ParseIP(s) != nil || s != "" && !strings.ContainsAny(s, ":[]") {
		return s, defaultPort, nil
	}
	host, text, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not HOST:PORT (an IPv6 address stands in brackets)", s)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is not a port: ports are 1 to 65535", text)
	}
	return host, uint16(n), nil
}
