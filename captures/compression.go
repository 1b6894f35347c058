package captures

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how a capture file is compressed.
type Compression uint8

// The compressions that NewReader undoes.
const (
	CompressionNone Compression = iota
	CompressionGzip
	CompressionZstd
)

var compressionNames = []string{"none", "gzip", "zstd"}

// String is the name in lower case.
func (c Compression) String() string { return nameOf(compressionNames, c) }

// MarshalText writes what String returns.
func (c Compression) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (c *Compression) UnmarshalText(text []byte) error { return parseName(compressionNames, c, text) }

const (
	magicZstd = "\x28\xb5\x2f\xfd" // RFC 8878 section 3.1.1
	// maxZstdWindow is how far back a zstd frame may refer. RFC 8878 section
	// 3.1.1.1.2 asks for 8 MiB; 'zstd --ultra -20' uses 32 MiB.
	maxZstdWindow = 32 << 20
)

// decompress puts a decompressor before the window if the file needs one. Data
// is decompressed as it is read, so that a bomb costs time and no memory.
func (r *Reader) decompress() error {
	magic := r.ahead(4)
	source := &sourceReader{in: r.in, first: magic, ended: r.ended}
	var out io.Reader
	var err error
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		r.compression = CompressionGzip
		out, err = gzip.NewReader(source)
	case len(magic) >= 4 && string(magic[:4]) == magicZstd:
		r.compression = CompressionZstd
		// With a concurrency of 1 there are no goroutines to be ended.
		out, err = zstd.NewReader(source, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
	default:
		return nil
	}
	unpack := &decompressor{in: out, source: source, name: r.compression.String()}
	if err != nil {
		return unpack.explain(err)
	}
	r.window = window{in: unpack}
	return nil
}

// sourceReader gives a decompressor what the window read already, and keeps
// the error of the reader below, which is not the data's fault.
type sourceReader struct {
	in    io.Reader
	first []byte
	ended error
}

// Read implements io.Reader.
func (s *sourceReader) Read(p []byte) (n int, err error) {
	if len(s.first) > 0 {
		n = copy(p, s.first)
		s.first = s.first[n:]
		return n, nil
	}
	if s.ended == nil {
		n, s.ended = s.in.Read(p)
	}
	return n, s.ended
}

// decompressor says of the errors of a decompressor whether the file is cut or
// damaged.
type decompressor struct {
	in     io.Reader
	source *sourceReader
	name   string
}

// Read implements io.Reader.
func (d *decompressor) Read(p []byte) (int, error) {
	n, err := d.in.Read(p)
	if err != nil && err != io.EOF {
		err = d.explain(err)
	}
	return n, err
}

func (d *decompressor) explain(err error) error {
	below := d.source.ended
	switch {
	case below != nil && !errors.Is(below, io.EOF):
		return below
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w: its %s data end too early", ErrCutShort, d.name)
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("%w: its zstd window is larger than %d MiB, decompress it first", ErrMalformed, maxZstdWindow>>20)
	}
	return fmt.Errorf("%w: its %s data: %w", ErrMalformed, d.name, err)
}
