package captures

import (
	"encoding/json"
	"net/netip"
	"time"
)

// Handshake is one opening: all SYNs that two ends sent each other on one pair
// of ports until a connection stood or they gave up, as seen at one vantage
// point or several.
type Handshake struct {
	A       netip.AddrPort `json:"a"` // sent the first SYN that the first file shows; as seen at the vantage point nearest to it
	B       netip.AddrPort `json:"b"`
	Verdict Verdict        `json:"verdict"`
	// Established is nil where the packets do not tell.
	Established *bool `json:"established"`
	// CrossingMargin is how much later or earlier either SYN could have been
	// sent before one of them missed: min(arrival of one − departure of the
	// other). Negative: by so much they missed. Nil: not known.
	CrossingMargin *time.Duration `json:"crossing_margin_ns"`
	AttemptsA      int            `json:"attempts_a"` // different initial sequence numbers that A used
	AttemptsB      int            `json:"attempts_b"`
	SynsA          int            `json:"syns_a"` // SYNs of A at the place that saw the most of them, retransmissions included
	SynsB          int            `json:"syns_b"`
	ISNA           *uint32        `json:"isn_a"` // of the attempt that was judged; nil where not seen
	ISNB           *uint32        `json:"isn_b"`
	Vantages       []Vantage      `json:"vantages"` // in the order of the path from A to B
	Events         []Event        `json:"events"`   // in the order of time
	Evidence       []Evidence     `json:"evidence"`
	NAT            []NAT          `json:"nat"`
	Leaks          []Leak         `json:"leaks"`
	Cadence        []Cadence      `json:"cadence"` // of each side that sent several SYNs
	Reset          *Origin        `json:"reset"`   // who sent the RST that ended it; nil: none did
	ICMP           *ICMPError     `json:"icmp"`    // the ICMP error that ended it; nil: none did
	Limits         []string       `json:"limits"`  // what these vantage points cannot know
}

// Vantage is a place where the exchange was captured.
type Vantage struct {
	File      int            `json:"file"`
	Interface int            `json:"interface"`
	Name      string         `json:"name"`
	A         netip.AddrPort `json:"a"` // the addresses that the ends have here
	B         netip.AddrPort `json:"b"`
}

// Event is one sighting of a segment. The same segment seen at several vantage
// points makes several events with one Flight.
type Event struct {
	File    int       `json:"file"`   // index into the files
	Packet  int       `json:"packet"` // number in the file, from 1
	Vantage int       `json:"vantage"`
	Flight  int       `json:"flight"`
	At      time.Time `json:"at"` // the zero Time where the file gives none; null in JSON
	// Side sent the segment; of an ICMP error it is unknown, and Quotes is the
	// side whose segment it quotes.
	Side   Side           `json:"side"`
	Quotes Side           `json:"quotes,omitzero"`
	From   netip.AddrPort `json:"from"` // port 0: an ICMP error, which comes from a host
	To     netip.AddrPort `json:"to"`
	Kind   Kind           `json:"kind"`
	Seq    uint32         `json:"seq"` // of an ICMP error, that of the segment it quotes
	Ack    uint32         `json:"ack"`
	TTL    uint8          `json:"ttl"`
	Length int            `json:"payload_bytes"`
	// Leaked: its source address is not the one that its sender has here.
	Leaked bool `json:"leaked,omitzero"`
	// ICMPType and ICMPCode are 0 in what is no ICMP error.
	ICMPType uint8 `json:"icmp_type,omitzero"`
	ICMPCode uint8 `json:"icmp_code,omitzero"`
}

// MarshalJSON writes null for a time that is not known.
func (e Event) MarshalJSON() ([]byte, error) {
	type plain Event
	if e.At.IsZero() {
		return json.Marshal(struct {
			At *time.Time `json:"at"`
			plain
		}{nil, plain(e)})
	}
	return json.Marshal(plain(e))
}

// Evidence is one sentence and the packet that proves it.
type Evidence struct {
	Text   string `json:"text"`
	File   int    `json:"file"`
	Packet int    `json:"packet"`
}
