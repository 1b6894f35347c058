package rawsock

import (
	"errors"
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"golang.org/x/net/bpf"
)

// AnyInterface is the interface name that stands for all of them.
const AnyInterface = "any"

// Link types of a Tap, as registered at https://www.tcpdump.org/linktypes.html.
// The last does not fit gopacket's layers.LinkType, which has 8 bits.
const (
	LinkTypeEthernet  uint16 = 1
	LinkTypeRaw       uint16 = 101 // starts with the IP header
	LinkTypeLinuxSLL2 uint16 = 276 // a cooked header of 20 bytes, of AnyInterface
)

// ErrNoInterface says that there is no interface of that name.
var ErrNoInterface = errors.New("no such interface")

// TapConfig says what a Tap captures. Only Interface is required.
type TapConfig struct {
	Interface string // a name, or AnyInterface

	// Host and Ports, where set, let through only TCP that touches that address
	// and one of at most 32 ports at either end, and all ICMP errors, since what
	// these quote may be of the flow. Without both everything passes.
	Host  netip.Addr
	Ports []uint16
	// Filter, where set, replaces Host and Ports. Its return values cut packets.
	Filter []bpf.RawInstruction

	SnapLen   int // bytes kept of each packet from its link header on; 0 for 256
	BlockSize int // bytes of a ring block, rounded up to whole pages; 0 for 128 KiB
	Blocks    int // 0 for 64, which with blocks of 128 KiB is 8 MiB: 50,000 SYNs
}

const (
	defaultSnapLen   = 256
	defaultBlockSize = 128 << 10
	defaultBlocks    = 64
	// retireTimeout bounds how long a packet stays in a block that does not
	// fill, and so how late it is read.
	retireTimeout = 10 * time.Millisecond
)

// Direction tells which way a packet crossed the interface.
type Direction uint8

const (
	DirectionUnknown Direction = iota
	Incoming
	Outgoing
)

// String is "incoming", "outgoing" or "unknown".
func (d Direction) String() string {
	switch d {
	case Incoming:
		return "incoming"
	case Outgoing:
		return "outgoing"
	}
	return "unknown"
}

// MarshalText is String.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Direction) UnmarshalText(text []byte) error {
	for _, known := range []Direction{DirectionUnknown, Incoming, Outgoing} {
		if known.String() == string(text) {
			*d = known
			return nil
		}
	}
	return errors.New("not a direction: " + string(text))
}

// Frame is one captured packet.
type Frame struct {
	Time      time.Time // the kernel's stamp, CLOCK_REALTIME in nanoseconds
	Data      []byte    // from the link header on, at most SnapLen bytes of it
	Length    int       // bytes on the wire
	Interface int       // the interface's index
	Direction Direction
}

// info puts the frame into gopacket's words; the direction is the only element
// of AncillaryData.
func (f Frame) info() gopacket.CaptureInfo {
	return gopacket.CaptureInfo{
		Timestamp:      f.Time,
		CaptureLength:  len(f.Data),
		Length:         f.Length,
		InterfaceIndex: f.Interface,
		AncillaryData:  ancillary[f.Direction],
	}
}

var ancillary = [...][]any{
	DirectionUnknown: {DirectionUnknown},
	Incoming:         {Incoming},
	Outgoing:         {Outgoing},
}

var (
	_ gopacket.PacketDataSource         = (*Tap)(nil)
	_ gopacket.ZeroCopyPacketDataSource = (*Tap)(nil)
)
