package captures

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Annotate writes the packets of an analysis' handshakes from all their files
// into one pcapng file in the order of time, each commented with what it
// proves. sources are those of Analyze, to be read once more.
func Annotate(w io.Writer, a Analysis, sources []Source) error {
	wanted := comments(a)
	var packets []Packet
	var places []Interface
	for i, s := range sources {
		found, interfaces, err := collect(i, s, wanted)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		for _, p := range found {
			p.Interface += len(places)
			packets = append(packets, p)
		}
		places = append(places, interfaces...)
	}
	slices.SortStableFunc(packets, func(x, y Packet) int { return x.Time.Compare(y.Time) })
	out, err := NewWriter(w, places...)
	if err != nil {
		return err
	}
	for _, p := range packets {
		if err := out.WritePacket(p); err != nil {
			return err
		}
	}
	return nil
}

// maxAnnotated is how many bytes of each packet Annotate writes: all headers,
// and little of what they carry.
const maxAnnotated = 512

type packetID struct{ file, number int }

func comments(a Analysis) map[packetID][]string {
	out := map[packetID][]string{}
	for i, h := range a.Handshakes {
		for _, e := range h.Events {
			id := packetID{e.File, e.Packet}
			side := name(e.Side)
			if e.Kind.IsICMP() {
				side = "ICMP about " + name(e.Quotes)
			}
			out[id] = append(out[id], fmt.Sprintf("opening %d (%s): %s from %s", i+1, h.Verdict, label(e.Kind), side))
		}
		for _, e := range h.Evidence {
			id := packetID{e.File, e.Packet}
			out[id] = append(out[id], e.Text)
		}
	}
	return out
}

// collect holds the wanted packets of one file: as many as the analysis has
// events, which Analyzer bounds.
func collect(file int, s Source, wanted map[packetID][]string) ([]Packet, []Interface, error) {
	r, err := NewReader(s.Reader)
	if err != nil {
		return nil, nil, err
	}
	var list []Packet
	for number := 1; ; number++ {
		p, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, ErrCutShort) || errors.Is(err, ErrMalformed) {
			return list, describe(r.Interfaces(), s.Name), nil
		}
		if err != nil {
			return nil, nil, err
		}
		added, ok := wanted[packetID{file, number}]
		if !ok {
			continue
		}
		p.Length = max(p.Length, len(p.Data))
		p.Data = bytes.Clone(p.Data[:min(len(p.Data), maxAnnotated)])
		p.Time = p.Time.Add(s.Offset)
		p.Comments = append(p.Comments, added...)
		list = append(list, p)
	}
}

func describe(list []Interface, file string) []Interface {
	for i := range list {
		list[i].Description = "from " + file
		if list[i].Name == "" {
			list[i].Name = file
		}
	}
	return list
}
