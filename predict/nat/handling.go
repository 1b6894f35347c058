package nat

// Pooling says which external address a new mapping gets (RFC 4787 section
// 4.1, REQ-2).
type Pooling uint8

const (
	PoolingUnknown Pooling = iota
	Paired                 // an inside address keeps one
	Arbitrary              // a random one each time
)

var pooling = vocabulary{{"unknown", ""}, {"paired"}, {"arbitrary"}}

func (p Pooling) String() string                { return pooling.text(uint8(p)) }
func (p Pooling) MarshalText() ([]byte, error)  { return pooling.marshal(uint8(p)) }
func (p Pooling) MarshalJSON() ([]byte, error)  { return pooling.marshalJSON(uint8(p)) }
func (p *Pooling) UnmarshalText(b []byte) error { return unmarshal(p, pooling, b) }

// Crossing says what becomes of a bare SYN from exactly the peer to which the
// inside has sent a SYN: the crossing of a simultaneous open (RFC 5382 section
// 4.2, REQ-2).
type Crossing uint8

const (
	CrossingUnknown Crossing = iota
	CrossingAccept           // it passes
	CrossingDrop             // silence
	CrossingReset            // a RST at once
)

var crossings = vocabulary{{"unknown", ""}, {"accept"}, {"drop"}, {"rst"}}

func (c Crossing) String() string                { return crossings.text(uint8(c)) }
func (c Crossing) MarshalText() ([]byte, error)  { return crossings.marshal(uint8(c)) }
func (c Crossing) MarshalJSON() ([]byte, error)  { return crossings.marshalJSON(uint8(c)) }
func (c *Crossing) UnmarshalText(b []byte) error { return unmarshal(c, crossings, b) }

// ResetHandling says what a RST for a session does.
type ResetHandling uint8

const (
	ResetUnknown  ResetHandling = iota
	ResetKill                   // passes, and the session ends
	ResetKeep                   // passes, and the session stays
	ResetSwallow                // is dropped, and the session stays
	ResetDropNext               // passes, the session ends, and the next SYN with its endpoints is dropped (pf)
)

var resets = vocabulary{{"unknown", ""}, {"kill"}, {"keep"}, {"swallow"}, {"drop-next"}}

func (r ResetHandling) String() string                { return resets.text(uint8(r)) }
func (r ResetHandling) MarshalText() ([]byte, error)  { return resets.marshal(uint8(r)) }
func (r ResetHandling) MarshalJSON() ([]byte, error)  { return resets.marshalJSON(uint8(r)) }
func (r *ResetHandling) UnmarshalText(b []byte) error { return unmarshal(r, resets, b) }

// ErrorHandling says what an ICMP error about a session does to it; the error
// itself passes (RFC 5382 section 7.3, REQ-10).
type ErrorHandling uint8

const (
	ErrorsUnknown ErrorHandling = iota
	ErrorsIgnore                // the session stays
	ErrorsKill                  // a session that is not established ends
)

var errorHandlings = vocabulary{{"unknown", ""}, {"ignore"}, {"kill"}}

func (e ErrorHandling) String() string                { return errorHandlings.text(uint8(e)) }
func (e ErrorHandling) MarshalText() ([]byte, error)  { return errorHandlings.marshal(uint8(e)) }
func (e ErrorHandling) MarshalJSON() ([]byte, error)  { return errorHandlings.marshalJSON(uint8(e)) }
func (e *ErrorHandling) UnmarshalText(b []byte) error { return unmarshal(e, errorHandlings, b) }

// Sequence says what a NAT makes of sequence numbers.
type Sequence uint8

const (
	SequenceUnknown Sequence = iota
	SequenceNone             // nothing
	SequenceWindow           // segments that do not fit the connection are dropped, as netfilter does
	SequenceRewrite          // the inside gets other initial sequence numbers outside
)

var sequences = vocabulary{{"unknown", ""}, {"none"}, {"window"}, {"rewrite"}}

func (s Sequence) String() string                { return sequences.text(uint8(s)) }
func (s Sequence) MarshalText() ([]byte, error)  { return sequences.marshal(uint8(s)) }
func (s Sequence) MarshalJSON() ([]byte, error)  { return sequences.marshalJSON(uint8(s)) }
func (s *Sequence) UnmarshalText(b []byte) error { return unmarshal(s, sequences, b) }
