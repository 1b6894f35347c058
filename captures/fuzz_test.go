package captures

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// seeds adds the public captures, where they are, to a target's corpus.
func seeds(f *testing.F, add func([]byte)) {
	add(captureOf(f, "A syn 100", "B syn 900", "A syn-ack 100 901", "B syn-ack 900 101", "A icmp 100", "B rst 901"))
	public, _ := filepath.Glob(filepath.Join("..", "..", "shared", "captures", "*", "*.pcap*"))
	specimens, _ := filepath.Glob(filepath.Join("testdata", "*.pcap*"))
	for _, name := range append(specimens, public...) {
		if data, err := os.ReadFile(name); err == nil && len(data) < 20_000 {
			add(data)
		}
	}
}

func FuzzReader(f *testing.F) {
	seeds(f, func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
		if compressed(data) {
			t.Skip("FuzzCompressed holds what it unpacks within bounds")
		}
		list, r, err := drain(data)
		if batched, _ := drainBatches(data); !slices.EqualFunc(batched, list, sameArrival) {
			t.Fatalf("got %d packets in batches, want %d", len(batched), len(list))
		}
		if err == nil {
			t.Fatal("reading ended without an error")
		}
		if r != nil && r.Bytes() > int64(len(data)) {
			t.Fatalf("consumed %d of %d bytes", r.Bytes(), len(data))
		}
		rewrite(t, list, r)
	})
}

func compressed(data []byte) bool {
	return bytes.HasPrefix(data, []byte("\x1f\x8b")) || bytes.HasPrefix(data, []byte(magicZstd))
}

// Bounds of what FuzzCompressed does for one input: a block of zstd unpacks four
// bytes to 128 KiB, and one of pcapng that is passed over may be all of it.
const (
	mostPacked   = 4 << 10
	mostUnpacked = 4 << 20
)

// FuzzCompressed reads compressed files, and checks that every end is explained.
func FuzzCompressed(f *testing.F) {
	seeds(f, func(data []byte) {
		if len(data) > mostPacked {
			return
		}
		for _, packed := range [][]byte{gzipped(f, data), zstandard(f, data), append(gzipped(f, data[:9]), gzipped(f, data[9:])...)} {
			f.Add(packed)
			f.Add(packed[:len(packed)-5])
		}
	})
	f.Fuzz(func(t *testing.T, data []byte) {
		if !compressed(data) || len(data) > mostPacked {
			t.Skip("not compressed, or too long")
		}
		r, err := NewReader(bytes.NewReader(data))
		for err == nil && r.Bytes() < mostUnpacked {
			_, err = r.Next()
		}
		for _, known := range []error{nil, io.EOF, ErrCutShort, ErrMalformed, ErrNotCapture} {
			if errors.Is(err, known) {
				return
			}
		}
		t.Fatalf("reading ended with %v", err)
	})
}

// rewrite checks that all that was read can be written and read again.
func rewrite(t *testing.T, list []Packet, r *Reader) {
	if len(list) == 0 {
		return
	}
	var file bytes.Buffer
	w, err := NewWriter(&file, r.Interfaces()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if err := w.WritePacket(p); err != nil {
			t.Fatal(err)
		}
	}
	again, _, err := drain(file.Bytes())
	if !errors.Is(err, io.EOF) || len(again) != len(list) {
		t.Fatalf("read %d packets of %d again: %v", len(again), len(list), err)
	}
	for i := range list {
		if !bytes.Equal(again[i].Data, list[i].Data) || again[i].Length != list[i].Length {
			t.Fatalf("packet %d changed", i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, link := range []LinkType{LinkEthernet, LinkSLL, LinkSLL2, LinkRaw, LinkNull, LinkPPP} {
		_, data := frame(f, "A syn-ack 100 901", link)
		f.Add(uint16(link), data)
	}
	_, data := frame(f, "A icmp 100", LinkEthernet)
	f.Add(uint16(LinkEthernet), data)
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, link uint16, data []byte) {
		s, err := d.Decode(LinkType(link), data)
		if err == nil && (!s.From.IsValid() || !s.To.IsValid() || s.PayloadLen < 0) {
			t.Fatalf("got %+v", s)
		}
	})
}

func FuzzAnalyze(f *testing.F) {
	seeds(f, func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
		if compressed(data) {
			t.Skip("FuzzCompressed holds what it unpacks within bounds")
		}
		a, err := Analyze([]Source{{Name: "x", Reader: bytes.NewReader(data)}, {Name: "y", Reader: bytes.NewReader(data)}}, Filter{})
		if err != nil {
			return
		}
		if _, err := json.Marshal(a); err != nil {
			t.Fatal(err)
		}
		for _, h := range a.Handshakes {
			if h.Verdict == VerdictUnknown || len(h.Events) == 0 || len(h.Evidence) == 0 {
				t.Fatalf("got %+v", h)
			}
		}
	})
}
