// Package nat holds the vocabulary of RFC 4787 and RFC 5382 for what a NAT
// does to TCP, and an emulator that behaves in any of those ways.
//
// It answers: given a packet and the time, what would such a NAT do? The
// vocabulary is in this file and in handling.go, a behaviour is a [Config]. An
// [Allocator] chooses ports, a [Translator] decides about packets as values, a
// [Box] does so with IP packets as bytes. Package predict goes the other way,
// from observations to behaviour.
//
// Hazards: the zero value of every enumeration is "unknown" (JSON null), and
// two Mapping values name partial knowledge, so compare with care. Nothing here
// is safe for concurrent use, and nothing reads a clock: time is what the
// caller passes, and must not run backwards.
package nat

// Mapping says when a NAT reuses a mapping for another destination
// (RFC 4787 section 4.1, RFC 5382 section 4.1).
type Mapping uint8

// The mapping behaviours. EndpointOrAddress and AddressOrPort are what
// remains when the measurement could not separate the two they name: the
// first when only ports of one server address were compared and agreed, the
// second when only different server addresses were compared and disagreed.
const (
	MappingUnknown          Mapping = iota
	EndpointIndependent             // one mapping for all destinations
	AddressDependent                // one mapping per destination address
	AddressAndPortDependent         // one mapping per destination endpoint
	PerConnection                   // a new mapping even for a repeated destination endpoint
	EndpointOrAddress               // endpoint-independent or address-dependent
	AddressOrPort                   // address-dependent or address-and-port-dependent
)

var mappings = vocabulary{
	{"unknown", ""},
	{"endpoint-independent", "eim"},
	{"address-dependent", "adm"},
	{"address-and-port-dependent", "apdm"},
	{"per-connection", "connection"},
	{"endpoint-independent-or-address-dependent"},
	{"address-dependent-or-address-and-port-dependent"},
}

func (m Mapping) String() string                { return mappings.text(uint8(m)) }
func (m Mapping) MarshalText() ([]byte, error)  { return mappings.marshal(uint8(m)) }
func (m Mapping) MarshalJSON() ([]byte, error)  { return mappings.marshalJSON(uint8(m)) }
func (m *Mapping) UnmarshalText(b []byte) error { return unmarshal(m, mappings, b) }

// Dependent reports whether the mapping is known to change with the
// destination address at least, so that the peer will not see the port that
// a server saw.
func (m Mapping) Dependent() bool {
	switch m {
	case AddressDependent, AddressAndPortDependent, PerConnection, AddressOrPort:
		return true
	}
	return false
}

// Filtering says which outside endpoints may use a mapping (RFC 4787
// section 5, RFC 5382 section 4.3).
type Filtering uint8

const (
	FilteringUnknown              Filtering = iota
	FilterEndpointIndependent               // anybody, once the mapping exists
	FilterAddressDependent                  // addresses that were sent to
	FilterAddressAndPortDependent           // endpoints that were sent to
)

var filterings = vocabulary{
	{"unknown", ""},
	{"endpoint-independent", "eif"},
	{"address-dependent", "adf"},
	{"address-and-port-dependent", "apdf"},
}

func (f Filtering) String() string                { return filterings.text(uint8(f)) }
func (f Filtering) MarshalText() ([]byte, error)  { return filterings.marshal(uint8(f)) }
func (f Filtering) MarshalJSON() ([]byte, error)  { return filterings.marshalJSON(uint8(f)) }
func (f *Filtering) UnmarshalText(b []byte) error { return unmarshal(f, filterings, b) }

// PortAssignment says how the port of a new mapping is chosen (RFC 4787
// section 4.2; "sequential" and "random" as in RFC 7857 section 9).
type PortAssignment uint8

const (
	PortsUnknown PortAssignment = iota
	Preserving                  // the inside port when it is free, else a random one
	Sequential                  // the previous port plus a constant
	Random                      // uniform over a range
	Lowest                      // the lowest free one
	Band                        // random in a narrow band that each inside address keeps
	Block                       // random in a block that no other inside address gets; another block when it is full (RFC 7422)
	Parity                      // random, as odd or even as the inside port (RFC 4787 section 4.2.2)
)

var assignments = vocabulary{
	{"unknown", ""},
	{"preserving", "preserve"},
	{"sequential"},
	{"random"},
	{"lowest"},
	{"band"},
	{"block"},
	{"parity"},
}

func (p PortAssignment) String() string                { return assignments.text(uint8(p)) }
func (p PortAssignment) MarshalText() ([]byte, error)  { return assignments.marshal(uint8(p)) }
func (p PortAssignment) MarshalJSON() ([]byte, error)  { return assignments.marshalJSON(uint8(p)) }
func (p *PortAssignment) UnmarshalText(b []byte) error { return unmarshal(p, assignments, b) }

// Unsolicited says what answers a SYN that the filter refuses (RFC 5382
// section 4.3, REQ-4).
type Unsolicited uint8

const (
	UnsolicitedUnknown Unsolicited = iota
	Drop                           // silence
	Reset                          // a TCP RST at once
	Unreachable                    // an ICMP error
	Hold                           // an ICMP error after 6 seconds, unless the inside sends its own SYN meanwhile
	Poison                         // the NAT takes the SYN itself: a RST, and the endpoints are occupied for a while
)

var unsolicited = vocabulary{{"unknown", ""}, {"drop"}, {"rst"}, {"icmp"}, {"hold"}, {"poison"}}

func (u Unsolicited) String() string                { return unsolicited.text(uint8(u)) }
func (u Unsolicited) MarshalText() ([]byte, error)  { return unsolicited.marshal(uint8(u)) }
func (u Unsolicited) MarshalJSON() ([]byte, error)  { return unsolicited.marshalJSON(uint8(u)) }
func (u *Unsolicited) UnmarshalText(b []byte) error { return unmarshal(u, unsolicited, b) }
