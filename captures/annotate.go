package captures

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Export says how packets of an analysis are written. The zero value is pcapng
// with comments.
type Export struct {
	Classic bool        // classic pcap, which holds no comments and one link type: bare IP packets, where there are several
	Hide    *Pseudonyms // those of the analysis: headers of IP packets only, without addresses; nil: packets as they are
}

// Write writes the packets of an analysis' handshakes from all their files into
// one file in the order of time, each commented with what it proves, and says
// how many it left out because they might hold an address where none is looked
// for. sources are those of Analyze, to be read once more.
func (e Export) Write(w io.Writer, a Analysis, sources []Source) (leftOut int, err error) {
	wanted := comments(a)
	var packets []Packet
	var places []Interface
	for i, s := range sources {
		if i < len(a.Clocks) {
			s.Offset += a.Clocks[i].Applied
		}
		found, interfaces, err := collect(i, s, wanted, e.Hide == nil)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", s.Name, err)
		}
		for _, p := range found {
			p.Interface += len(places)
			packets = append(packets, p)
		}
		places = append(places, interfaces...)
	}
	slices.SortStableFunc(packets, func(x, y Packet) int { return x.Time.Compare(y.Time) })
	if e.Hide != nil || e.Classic && severalLinks(packets, places) {
		packets, leftOut = e.bare(packets, places)
	}
	out, err := e.writer(w, packets, places)
	if err != nil {
		return leftOut, err
	}
	for _, p := range packets {
		if e.Classic {
			p.Interface = 0
		}
		if err := out.WritePacket(p); err != nil {
			return leftOut, err
		}
	}
	return leftOut, nil
}

func (e Export) writer(w io.Writer, packets []Packet, places []Interface) (*Writer, error) {
	if !e.Classic {
		return NewWriter(w, places...)
	}
	link := LinkRaw
	if len(packets) > 0 {
		link = places[packets[0].Interface].LinkType
	}
	return NewPcapWriter(w, link, maxPacket)
}

func severalLinks(packets []Packet, places []Interface) bool {
	return slices.ContainsFunc(packets, func(p Packet) bool {
		return places[p.Interface].LinkType != places[packets[0].Interface].LinkType
	})
}

// bare takes the IP packets out of their frames, and hides what is to be
// hidden. places are afterwards of bare IP packets.
func (e Export) bare(packets []Packet, places []Interface) (list []Packet, leftOut int) {
	decoder := NewDecoder()
	for _, p := range packets {
		frame := len(p.Data)
		data, ok := decoder.innermost(places[p.Interface].LinkType, p.Data)
		p.Length -= frame - len(data) // what the capture cut off is still missing
		if ok && e.Hide != nil {
			data, ok = e.Hide.hide(data)
		}
		if !ok {
			leftOut++
			continue
		}
		p.Data = data
		list = append(list, p)
	}
	for i := range places {
		places[i].LinkType = LinkRaw
	}
	return list, leftOut
}

// maxAnnotated is how many bytes of each packet are written: all headers,
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
func collect(file int, s Source, wanted map[packetID][]string, comments bool) ([]Packet, []Interface, error) {
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
		if !comments { // they may say anything
			p.Comments = nil
		}
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
