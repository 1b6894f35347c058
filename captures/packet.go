package captures

import "time"

// Packet is one frame as a capture holds it.
type Packet struct {
	Time      time.Time // UTC; the zero Time where the file gives none
	Data      []byte    // the captured bytes, possibly fewer than Length
	Length    int       // bytes on the wire
	Interface int       // index into Reader.Interfaces
	Direction Direction // pcapng only
	Comments  []string  // pcapng only
}

// Direction says which way a packet crossed its interface, with the numbers of
// the pcapng option epb_flags.
type Direction uint8

// The directions. The zero value is unknown.
const (
	DirectionUnknown Direction = iota
	DirectionIn
	DirectionOut
)

var directionNames = []string{"unknown", "in", "out"}

// String is "in", "out" or "unknown".
func (d Direction) String() string { return nameOf(directionNames, d) }

// MarshalText writes what String returns.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Direction) UnmarshalText(text []byte) error { return parseName(directionNames, d, text) }

// Interface is one place where packets were captured.
type Interface struct {
	Name        string
	Description string
	LinkType    LinkType
	SnapLen     int // bytes kept of each packet; 0 means all
}

// Format is the kind of a capture file.
type Format uint8

// The formats that NewReader recognises.
const (
	FormatUnknown      Format = iota
	FormatPcap                // microseconds
	FormatPcapNano            // nanoseconds
	FormatPcapModified        // Kuznetzov's, with a longer packet header
	FormatPcapNG
)

var formatNames = []string{"unknown", "pcap", "pcap-nanosecond", "pcap-modified", "pcapng"}

// String is the format's name in lower case.
func (f Format) String() string { return nameOf(formatNames, f) }

// MarshalText writes what String returns.
func (f Format) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (f *Format) UnmarshalText(text []byte) error { return parseName(formatNames, f, text) }
