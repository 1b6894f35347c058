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
	files, _ := filepath.Glob(filepath.Join("..", "..", "shared", "captures", "*", "*.pcap*"))
	for _, name := range files {
		if data, err := os.ReadFile(name); err == nil && len(data) < 20_000 {
			add(data)
		}
	}
}

func FuzzReader(f *testing.F) {
	seeds(f, func(data []byte) { f.Add(data) })
	f.Fuzz(func(t *testing.T, data []byte) {
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
