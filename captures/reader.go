package captures

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
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
	window
	order       binary.ByteOrder
	format      Format
	compression Compression
	interfaces  []Interface
	read        func() (Packet, error)
	failed      error

	classic classicLayout
	section int          // index of the section's first interface
	clocks  []blockClock // one for each interface
	links   []LinkType   // likewise
	dataAt  int          // where in the window the data of the latest packet begins
}

// NewReader reads the file header; what is compressed with gzip or zstd is
// decompressed as it is read. The error wraps ErrNotCapture where the format is
// not known, and ErrCutShort where the header is incomplete.
func NewReader(r io.Reader) (*Reader, error) {
	in := &Reader{window: window{in: r}}
	if err := in.decompress(); err != nil {
		return nil, err
	}
	magic := in.ahead(4)
	var err error
	switch {
	case len(magic) < 4:
		err = in.tooShort(len(magic))
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

func (r *Reader) tooShort(n int) error {
	switch {
	case !errors.Is(r.ended, io.EOF):
		return r.endOf(nil)
	case n == 0:
		return fmt.Errorf("%w: it is empty", ErrNotCapture)
	}
	return fmt.Errorf("%w: it has only %d bytes", ErrNotCapture, n)
}

// strangers are the first bytes of files that are taken for captures.
var strangers = []struct{ magic, what string }{
	{"snoo", "it is a snoop file, which 'editcap -F pcapng' converts"},
	{"GMBU", "it is a file of Microsoft Network Monitor, which 'editcap -F pcapng' converts"},
	{"BZh", "it is compressed with bzip2, decompress it first"},
	{"\xfd7zX", "it is compressed with xz, decompress it first"},
	{"\x04\x22\x4d\x18", "it is compressed with lz4, decompress it first"},
	{"PK\x03\x04", "it is a ZIP archive, unpack it first"},
	{"\x1f\x8b", "it is compressed twice, decompress it first"},
	{magicZstd, "it is compressed twice, decompress it first"},
}

// guess says what a file is that is no capture, for the mistakes that are
// common.
func guess(magic []byte) string {
	for _, s := range strangers {
		if len(magic) >= len(s.magic) && string(magic[:len(s.magic)]) == s.magic {
			return s.what
		}
	}
	return fmt.Sprintf("it begins with % x", magic[:4])
}

// Format is the format of the file.
func (r *Reader) Format() Format { return r.format }

// Compression is how the file is compressed.
func (r *Reader) Compression() Compression { return r.compression }

// Interfaces are the interfaces met so far, those of all sections.
func (r *Reader) Interfaces() []Interface { return slices.Clone(r.interfaces) }

// grain is the unit of the file's coarsest times.
func (r *Reader) grain() (coarsest time.Duration) {
	for _, c := range r.clocks {
		coarsest = max(coarsest, c.grain())
	}
	return coarsest
}

// LinkType is the link type of the interface of a packet.
func (r *Reader) LinkType(p Packet) LinkType {
	if p.Interface < 0 || p.Interface >= len(r.interfaces) {
		return LinkNull
	}
	return r.interfaces[p.Interface].LinkType
}

// Bytes is how much of the file was consumed, after decompression.
func (r *Reader) Bytes() int64 { return r.offset() }

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
	return fmt.Errorf("%w at byte %d: %s", ErrMalformed, r.offset(), fmt.Sprintf(format, args...))
}

// header takes n bytes of which a file may lack all, at its end.
func (r *Reader) header(n int) ([]byte, error) {
	data := r.ahead(n)
	if len(data) < n {
		r.pos = r.end
		return nil, r.endOf(data)
	}
	r.pos += n
	return data[:n], nil
}

// take takes n bytes that must be there; n is at most maxBlock, which the
// callers check. They are valid until the next call.
func (r *Reader) take(n int) ([]byte, error) {
	data := r.ahead(n)
	if len(data) >= n {
		r.pos += n
		return data[:n], nil
	}
	r.pos = r.end
	if errors.Is(r.ended, io.EOF) {
		return nil, r.cutShort()
	}
	return nil, r.endOf(data)
}
