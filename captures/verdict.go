package captures

// Verdict is what the packets say about one opening. What proves each is in
// judge.go.
type Verdict uint8

// The verdicts. The zero value is unknown.
const (
	VerdictUnknown          Verdict = iota
	VerdictSimultaneousOpen         // each SYN left before the other arrived
	VerdictLateCrossing             // one side was too late for the other's SYN, whose side took the late one
	VerdictSplitHandshake           // a listener answered with an ACK and a SYN of its own
	VerdictThreeWay                 // SYN, SYN-ACK, ACK
	VerdictRefused                  // a RST ended it before it was established
	VerdictICMPRejected             // an ICMP error is the only answer, or the first
	VerdictUnanswered               // SYNs, and nothing came back
	VerdictOneSided                 // only one direction was captured
	VerdictIncomplete               // an opening of which the end, or too much, is missing
)

var verdictNames = []string{"unknown", "simultaneous-open", "late-crossing", "split-handshake", "three-way",
	"refused", "icmp-rejected", "unanswered", "one-sided", "incomplete"}

// String is the verdict's name as the JSON documents have it.
func (v Verdict) String() string { return nameOf(verdictNames, v) }

// MarshalText writes what String returns.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (v *Verdict) UnmarshalText(text []byte) error { return parseName(verdictNames, v, text) }

// Side is an end of a connection: A sent the first SYN
// that the first place saw.
type Side uint8

// The ends. The zero value is unknown, as for a box on the path.
const (
	SideUnknown Side = iota
	SideA
	SideB
)

var sideNames = []string{"unknown", "a", "b"}

// String is "a", "b" or "unknown".
func (s Side) String() string { return nameOf(sideNames, s) }

// MarshalText writes what String returns.
func (s Side) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *Side) UnmarshalText(text []byte) error { return parseName(sideNames, s, text) }

// Other is the opposite end.
func (s Side) Other() Side {
	switch s {
	case SideA:
		return SideB
	case SideB:
		return SideA
	}
	return SideUnknown
}
