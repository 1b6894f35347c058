package captures

import "time"

// Packet is one frame as a capture holds it.
type Packet struct {
	Time      time.Time // UTC; the zero Time where the file gives none
	Data      []byte    // the captured bytes, possibly fewer than Length
	Length    int       // bytes on the wire
	Interface int       // index into Reader.Interfaces
	Comments  []string  // pcapng only
}

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
