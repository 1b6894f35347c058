package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Unsolicited is what a side's box does with a SYN that nobody inside asked for.
type Unsolicited int

// The answers of real boxes. The words are those of the profile grammar.
const (
	UnsolicitedUnknown Unsolicited = iota
	Drop                           // silence
	Reset                          // a RST by the firewall's rule
	Poison                         // the box takes the SYN itself, its kernel answers RST, and the port is occupied
)

// Ports is how a translator chooses the external port.
type Ports int

// The port choices of the netfilter engine.
const (
	PortsUnknown  Ports = iota
	PortsPreserve       // the inside port, for every destination (endpoint-independent)
	PortsRandom         // a random one for every connection
)

// Box is what stands between a client and the internet.
type Box int

// The kinds of boxes.
const (
	BoxUnknown  Box = iota
	BoxNone         // nothing: the client has a public address
	BoxFirewall     // a stateful filter without translation
	BoxNAT          // a translator with a private network behind it
)

var (
	unsolicitedWords = words{"unknown", "drop", "rst", "poison"}
	portsWords       = words{"unknown", "preserve", "random"}
	boxWords         = words{"unknown", "none", "firewall", "nat"}
)

// words are the text forms of an enumeration, by value.
type words []string

func (w words) text(i int) string {
	if i < 0 || i >= len(w) {
		return w[0]
	}
	return w[i]
}

func (w words) value(s []byte) (int, error) {
	i := slices.Index(w, string(s))
	if i < 0 {
		return 0, fmt.Errorf("%q is none of %s", s, strings.Join(w, ", "))
	}
	return i, nil
}

func (u Unsolicited) String() string               { return unsolicitedWords.text(int(u)) }
func (u Unsolicited) MarshalText() ([]byte, error) { return []byte(u.String()), nil }
func (u *Unsolicited) UnmarshalText(b []byte) error {
	i, err := unsolicitedWords.value(b)
	*u = Unsolicited(i)
	return err
}

func (p Ports) String() string               { return portsWords.text(int(p)) }
func (p Ports) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
func (p *Ports) UnmarshalText(b []byte) error {
	i, err := portsWords.value(b)
	*p = Ports(i)
	return err
}

func (b Box) String() string               { return boxWords.text(int(b)) }
func (b Box) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
func (b *Box) UnmarshalText(t []byte) error {
	i, err := boxWords.value(t)
	*b = Box(i)
	return err
}

// Profile is one side of a lab: a client and what stands before it.
type Profile struct {
	Name        string      `json:"name"`
	Description string      `json:"description"`
	StandsFor   string      `json:"stands_for"`
	Box         Box         `json:"box"`
	Unsolicited Unsolicited `json:"unsolicited"`
	Ports       Ports       `json:"ports"`
	IPv4        bool        `json:"ipv4"`
	IPv6        bool        `json:"ipv6"`
	Shared      bool        `json:"shared"`      // both clients stand behind this one box
	BridgeLab   bool        `json:"bridge_lab"`  // the networks of a home-lab tutorial
	DropUDP     bool        `json:"drop_udp"`    // no UDP leaves
	RewriteTTL  uint8       `json:"rewrite_ttl"` // what leaves and enters gets this TTL; 0: as it comes
}

var profiles = []Profile{
	{Name: "public", Box: BoxNone, IPv4: true, IPv6: true,
		Description: "no box: the host itself has the public address and answers an early SYN with RST",
		StandsFor:   "a rented server, a campus without NAT"},
	{Name: "firewall", Box: BoxFirewall, Unsolicited: Drop, IPv4: true,
		Description: "stateful IPv4 filter without translation, drops what was not asked for",
		StandsFor:   "an institute's firewall before public addresses"},
	{Name: "firewall6", Box: BoxFirewall, Unsolicited: Drop, IPv6: true,
		Description: "stateful IPv6 filter, drops what was not asked for (RFC 6092)",
		StandsFor:   "a home router's IPv6 side"},
	{Name: "linux", Box: BoxNAT, Unsolicited: Drop, Ports: PortsPreserve, IPv4: true,
		Description: "netfilter masquerade, input policy drop; keeps ports, one mapping for all destinations",
		StandsFor:   "most home routers, which are Linux inside"},
	{Name: "linux-accept", Box: BoxNAT, Unsolicited: Poison, Ports: PortsPreserve, IPv4: true,
		Description: "masquerade, input policy accept: the router's own kernel answers an early SYN with RST, and the port is taken",
		StandsFor:   "a router set up with one masquerade rule and nothing else"},
	{Name: "openwrt", Box: BoxNAT, Unsolicited: Reset, Ports: PortsPreserve, IPv4: true,
		Description: "masquerade, WAN input reject: the firewall answers an early SYN with RST",
		StandsFor:   "OpenWrt as it is delivered"},
	{Name: "linux-random", Box: BoxNAT, Unsolicited: Drop, Ports: PortsRandom, IPv4: true,
		Description: "masquerade fully-random: another random port for every connection",
		StandsFor:   "container hosts, and routers hardened against port prediction"},
	{Name: "same-nat", Box: BoxNAT, Unsolicited: Drop, Ports: PortsPreserve, IPv4: true, Shared: true,
		Description: "both clients in one network behind one masquerade without hairpinning",
		StandsFor:   "two machines in one home"},
	{Name: "bridge-lab", Box: BoxNAT, Unsolicited: Poison, Ports: PortsPreserve, IPv4: true, BridgeLab: true,
		Description: "LANs 192.168.111.0/24 and 192.168.222.0/24, each with a client and an nftables masquerade router, and a host between them",
		StandsFor:   "the virtual machines of a home-lab tutorial"},
}

// Profiles are all named profiles, in the order in which they are shown.
func Profiles() []Profile { return slices.Clone(profiles) }

// UnknownWord is a word of a profile that the lab does not know.
type UnknownWord struct {
	Word  string
	What  string   // what the word should have been: "profile", "key", "value of ports"
	Valid []string // the words that would have done
}

func (u *UnknownWord) Error() string { return fmt.Sprintf("there is no %s %q", u.What, u.Word) }

// ParseProfile reads a name, key=value,… of the netfilter engine, or a name and
// what differs from it. Wrong words give *UnknownWord.
func ParseProfile(text string) (Profile, error) {
	p := Profile{Box: BoxNAT, Unsolicited: Drop, Ports: PortsPreserve, IPv4: true,
		Description: "netfilter masquerade with chosen behaviour"}
	first, rest, more := strings.Cut(text, ",")
	if strings.Contains(first, "=") {
		rest, more = text, true
	} else {
		var err error
		if p, err = namedProfile(first); err != nil || !more {
			return p, err
		}
		p.Description += "; with " + rest
	}
	p.Name = text
	mapping := ""
	for part := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(part, "=")
		if err := p.set(key, value); err != nil {
			return Profile{}, err
		}
		if key == "mapping" {
			mapping = value
		}
	}
	if mapping != "" && mapping != p.mapping() {
		return Profile{}, fmt.Errorf("mapping=%s does not go with ports=%s in netfilter, which then maps %s", mapping, p.Ports, p.mapping())
	}
	if p.Box == BoxNone {
		return Profile{}, fmt.Errorf("%s has no box whose behaviour could be chosen", first)
	}
	return p, nil
}

func namedProfile(name string) (Profile, error) {
	for _, p := range profiles {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, &UnknownWord{Word: name, What: "profile", Valid: profileNames()}
}

func profileNames() []string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	return names
}

// grammar holds the keys and values that the netfilter engine can do.
var grammar = map[string][]string{
	"engine":      {"netfilter"},
	"mapping":     {"eim", "connection"},
	"filtering":   {"apdf"},
	"ports":       {"preserve", "random"},
	"unsolicited": {"drop", "rst", "poison"},
	"hairpin":     {"no"},
	"udp":         {"keep", "drop"},
	"ttl":         {"keep", "rewrite:64", "rewrite:128", "rewrite:255"},
}

func (p *Profile) set(key, value string) error {
	valid, ok := grammar[key]
	if !ok {
		return &UnknownWord{Word: key, What: "key", Valid: grammarKeys()}
	}
	if !slices.Contains(valid, value) {
		return &UnknownWord{Word: value, What: "value of " + key, Valid: valid}
	}
	switch key {
	case "ports":
		return p.Ports.UnmarshalText([]byte(value))
	case "unsolicited":
		return p.Unsolicited.UnmarshalText([]byte(value))
	case "udp":
		p.DropUDP = value == "drop"
	case "ttl":
		number, _ := strings.CutPrefix(value, "rewrite:")
		n, _ := strconv.ParseUint(number, 10, 8) // keep is 0
		p.RewriteTTL = uint8(n)
	}
	return nil
}

func grammarKeys() []string {
	var keys []string
	for k := range grammar {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// mapping is the RFC 4787 section 4.1 behaviour that follows from the ports.
func (p Profile) mapping() string {
	if p.Ports == PortsRandom {
		return "connection"
	}
	return "eim"
}
