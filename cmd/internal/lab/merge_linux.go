package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"tcppunch/captures"
)

// capture is one exchange seen from all vantage points.
type capture struct {
	interfaces []captures.Interface
	packets    []captures.Packet
	handshake  *captures.Handshake // nil if none was seen
}

// mergeCaptures reads the files of all vantage points, judges what is in them,
// and keeps of the packets those that the two sides exchanged.
func mergeCaptures(t *trial) (c capture, err error) {
	who := sidesOf(t.network.Scenario)
	files := map[[2]int]int{} // file and number in it → place in packets
	for i, v := range vantages {
		packets, link, err := readCapture(t.file(v.file))
		if err != nil {
			return c, fmt.Errorf("%s: %w", v.name, err)
		}
		c.interfaces = append(c.interfaces, captures.Interface{Name: v.name, LinkType: link.LinkType, SnapLen: link.SnapLen})
		for k, p := range packets {
			h, ok := parseHeader(withoutLink(p.Data, link.LinkType))
			from := who.between(h)
			if !ok || from == 0 {
				continue
			}
			p.Interface, p.Comments = i, []string{fmt.Sprintf("%s from client %c, at %s", kindOf(p.Data, link.LinkType), from, v.name)}
			files[[2]int{i, k + 1}] = len(c.packets)
			c.packets = append(c.packets, p)
		}
	}
	if err := c.judge(t, files); err != nil {
		return c, err
	}
	slices.SortStableFunc(c.packets, func(a, b captures.Packet) int { return a.Time.Compare(b.Time) })
	return c, nil
}

// judge finds the exchange and writes on each packet what it is.
func (c *capture) judge(t *trial, places map[[2]int]int) error {
	var sources []captures.Source
	for _, v := range vantages {
		f, err := os.Open(t.file(v.file))
		if err != nil {
			return fmt.Errorf("read capture: %w", err)
		}
		defer f.Close()
		sources = append(sources, captures.Source{Name: v.name, Reader: f})
	}
	var err error
	if c.handshake, err = t.telling(sources); err != nil {
		return err
	}
	if c.handshake != nil {
		c.comment(places)
	}
	return nil
}

// comment notes on packets what they prove.
func (c *capture) comment(places map[[2]int]int) {
	for _, e := range c.handshake.Evidence {
		if i, ok := places[[2]int{e.File, e.Packet}]; ok {
			c.packets[i].Comments = append(c.packets[i].Comments, "evidence: "+e.Text)
		}
	}
}

// withClients takes what the clients themselves captured, where no packet
// crossed the core: what each sent, and which RSTs came to it.
func (x truth) withClients(t *trial) truth {
	x.outside = false
	who := sidesOf(t.network.Scenario)
	for _, side := range []byte{'a', 'b'} {
		packets, link, err := readCapture(t.file(string(side) + ".pcapng"))
		if err != nil {
			continue // the client did not capture, and said so
		}
		for _, p := range packets {
			h, ok := parseHeader(withoutLink(p.Data, link.LinkType))
			if from := who.between(h); ok && (from == side || from != 0 && h.rst) {
				x.sightings = append(x.sightings, sighting{from: from, sent: p.Time, header: h})
			}
		}
	}
	slices.SortStableFunc(x.sightings, func(a, b sighting) int { return a.sent.Compare(b.sent) })
	return x
}

// kindOf names what a frame carries.
func kindOf(frame []byte, link captures.LinkType) string {
	segment, err := captures.NewDecoder().Decode(link, frame)
	if err != nil {
		return "frame"
	}
	return strings.ToUpper(segment.Kind.String())
}

func readCapture(path string) (list []captures.Packet, link captures.Interface, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, link, fmt.Errorf("read capture: %w", err)
	}
	defer f.Close()
	r, err := captures.NewReader(f)
	if err != nil {
		return nil, link, err
	}
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, link, err
		}
		p.Data = slices.Clone(p.Data)
		list = append(list, p)
	}
	if i := r.Interfaces(); len(i) > 0 {
		link = i[0]
	}
	return list, link, nil
}

// withoutLink is the IP packet in a frame of an Ethernet or a TUN device.
func withoutLink(frame []byte, link captures.LinkType) []byte {
	const ethernet, sll, sll2 = 14, 16, 20
	skip := map[captures.LinkType]int{captures.LinkEthernet: ethernet, captures.LinkSLL: sll, captures.LinkSLL2: sll2}[link]
	return frame[min(skip, len(frame)):]
}

// write makes the merged file, which only its owner can read.
func (c capture) write(path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the exchange: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := captures.NewWriter(f, c.interfaces...)
	if err != nil {
		return err
	}
	for _, p := range c.packets {
		if err := w.WritePacket(p); err != nil {
			return err
		}
	}
	return nil
}
