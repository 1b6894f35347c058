package captures

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Bounds of what a file can make a Reader hold, whatever lengths it claims.
const (
	maxPacket     = 256 << 10           // bytes of one packet; libpcap's own limit for snaplen
	maxBlock      = maxPacket + 256<<10 // bytes of one pcapng block that is read: a packet and its options
	maxInterfaces = 1 << 12
	maxName       = 256 // bytes kept of an interface's name
	maxComments   = 64  // comments kept of one packet
)

// Errors that a Reader wraps. After any error but io.EOF the packets returned
// before remain good; no more follow.
var (
	ErrNotCapture = errors.New("not a capture file")
	ErrCutShort   = errors.New("the file is cut short")
	ErrMalformed  = errors.New("the file is malformed")
)

// Reader reads a pcap or pcapng file packet by packet, in bounded memory.
type Reader struct {
	in         *bufio.Reader
	offset     int64 // bytes consumed
	order      binary.ByteOrder
	format     Format
	interfaces []Interface
	read       func() (Packet, error)
	buffer     []byte
	failed     error

	classicHeader int          // bytes before each packet of a classic file
	section       int          // index of the section's first interface
	clocks        []blockClock // one for each interface
}

// NewReader reads the file header. The error wraps ErrNotCapture where the
// format is not known, and ErrCutShort where the header is incomplete.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{in: bufio.NewReaderSize(r, 64<<10)}
	magic, err := in.in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read capture: %w", err)
	}
	switch {
	case len(magic) == 0:
		return nil, fmt.Errorf("%w: it is empty", ErrNotCapture)
	case len(magic) < 4:
		return nil, fmt.Errorf("%w: it has only %d bytes", ErrNotCapture, len(magic))
	case binary.BigEndian.Uint32(magic) == blockSection:
		err = in.openNG()
	case in.recognise(magic):
		err = in.openClassic()
	default:
		err = fmt.Errorf("%w: %s", ErrNotCapture, guess(magic))
	}
	if err != nil {
		return nil, err
	}
	return in, nil
}

// guess says what a file is that is no capture, for the few mistakes that are
// common.
func guess(magic []byte) string {
	switch {
	case magic[0] == 0x1f && magic[1] == 0x8b:
		return "it is compressed with gzip, decompress it first"
	case string(magic) == "\x28\xb5\x2f\xfd":
		return "it is compressed with zstd, decompress it first"
	}
	return fmt.Sprintf("it begins with % x", magic)
}

// Format is the format of the file.
func (r *Reader) Format() Format { return r.format }

// Interfaces are the interfaces met so far, those of all sections.
func (r *Reader) Interfaces() []Interface { return slices.Clone(r.interfaces) }

// LinkType is the link type of the interface of a packet.
func (r *Reader) LinkType(p Packet) LinkType {
	if p.Interface < 0 || p.Interface >= len(r.interfaces) {
		return LinkNull
	}
	return r.interfaces[p.Interface].LinkType
}

// Bytes is how much of the file was consumed.
func (r *Reader) Bytes() int64 { return r.offset }

// Next returns the next packet, whose Data is valid until the following call.
// At the end it returns io.EOF; otherwise the error wraps ErrCutShort or
// ErrMalformed and names the byte, and every later call returns the same.
func (r *Reader) Next() (Packet, error) {
	if r.failed != nil {
		return Packet{}, r.failed
	}
	p, err := r.read()
	if err != nil {
		r.failed = err
		return Packet{}, err
	}
	return p, nil
}

func (r *Reader) malformed(format string, args ...any) error {
	return fmt.Errorf("%w at byte %d: %s", ErrMalformed, r.offset, fmt.Sprintf(format, args...))
}

// fill reads exactly len(p) bytes. At the end of the file before the first of
// them it returns io.EOF if that is allowed, and ErrCutShort otherwise.
func (r *Reader) fill(p []byte, endAllowed bool) error {
	n, err := io.ReadFull(r.in, p)
	r.offset += int64(n)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) && endAllowed:
		return io.EOF
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w at byte %d", ErrCutShort, r.offset)
	}
	return fmt.Errorf("read capture at byte %d: %w", r.offset, err)
}

// take returns the next n bytes in the reader's own buffer; n is at most
// maxBlock, which the callers check.
func (r *Reader) take(n int) ([]byte, error) {
	if cap(r.buffer) < n {
		r.buffer = make([]byte, max(n, 4096))
	}
	r.buffer = r.buffer[:n]
	return r.buffer, r.fill(r.buffer, n == 0)
}
