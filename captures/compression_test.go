package captures

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	return packed(t, &out, gzip.NewWriter(&out), data)
}

func zstandard(t testing.TB, data []byte, options ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, append(options, zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		t.Fatal(err)
	}
	return packed(t, &out, w, data)
}

func packed(t testing.TB, out *bytes.Buffer, w io.WriteCloser, data []byte) []byte {
	t.Helper()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCompressedFilesAreReadAsWhatTheyHold(t *testing.T) {
	plain := captureOf(t, "A syn 100", "B syn-ack 900 101", "A ack 101 901")
	want, _, _ := drain(plain)
	parts := append(gzipped(t, plain[:100]), gzipped(t, plain[100:])...) // members follow each other, RFC 1952 section 2.2
	for name, c := range map[string]struct {
		data []byte
		kind Compression
	}{"gzip": {gzipped(t, plain), CompressionGzip}, "two members": {parts, CompressionGzip}, "zstd": {zstandard(t, plain), CompressionZstd}} {
		got, r, err := drain(c.data)
		if !errors.Is(err, io.EOF) || !slices.EqualFunc(got, want, samePacket) {
			t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
			continue
		}
		if r.Compression() != c.kind || r.Bytes() != int64(len(plain)) {
			t.Errorf("%s: got %v and %d bytes, want %d", name, r.Compression(), r.Bytes(), len(plain))
		}
	}
}

func TestACompressedFileCutAnywhereIsReadToTheCut(t *testing.T) {
	var lines []string
	for range 2000 { // more than one block of zstd, 128 KiB
		lines = append(lines, "A syn 100", "B syn-ack 900 101")
	}
	for name, whole := range map[string][]byte{"gzip": gzipped(t, captureOf(t, lines...)), "zstd": zstandard(t, captureOf(t, lines...))} {
		most := 0
		for n := 4; n < len(whole); n += 1 + len(whole)/300 {
			list, _, err := drain(whole[:n])
			if !errors.Is(err, ErrCutShort) {
				t.Fatalf("%s cut at %d of %d: got %v, want a cut", name, n, len(whole), err)
			}
			most = max(most, len(list))
		}
		if most == 0 {
			t.Errorf("%s: no packet was read from any part", name)
		}
	}
}

func TestDamageInCompressedDataIsNoCleanEnd(t *testing.T) {
	plain := captureOf(t, "A syn 100", "B syn-ack 900 101")
	for name, whole := range map[string][]byte{"gzip": gzipped(t, plain), "zstd": zstandard(t, plain)} {
		for i := 4; i < len(whole); i++ {
			data := bytes.Clone(whole)
			data[i] ^= 0x40
			got, _, err := drain(data)
			if errors.Is(err, io.EOF) && len(got) != 2 {
				t.Errorf("%s: byte %d changed: %d packets and a clean end", name, i, len(got))
			}
		}
	}
}

func TestABombIsReadInLittleMemory(t *testing.T) {
	b := &ng{order: binary.LittleEndian}
	b.section()
	b.link(1)
	const claimed = 256 << 20
	bomb := append(b.data, b.words(0xbad, claimed)...) // an unknown block
	bomb = append(bomb, make([]byte, claimed-12)...)
	bomb = append(bomb, b.words(claimed)...)
	files := map[string][]byte{"gzip": gzipped(t, bomb), "zstd": zstandard(t, bomb, zstd.WithWindowSize(8<<20))}
	bomb = nil
	for name, data := range files {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, r, err := drain(data)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, io.EOF) || r.Bytes() < claimed {
			t.Errorf("%s: got %v", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20 {
			t.Errorf("%s: allocated %d bytes for %d", name, got, len(data))
		}
	}
}

func TestAZstdWindowBeyondTheBoundIsRefused(t *testing.T) {
	data := "\x28\xb5\x2f\xfd\x00\x90" // a frame header with a window of 2^28 bytes
	if _, _, err := drain([]byte(data)); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}
