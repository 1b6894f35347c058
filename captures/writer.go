package captures

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Writer writes a capture file. Each packet is one call of the underlying
// Write, so that a file that is being written is whole after every packet.
type Writer struct {
	w      io.Writer
	links  int // interfaces; packets name one below this
	ng     bool
	buffer []byte
}

// NewWriter begins a pcapng file with nanosecond times for the given
// interfaces, at least one.
func NewWriter(w io.Writer, interfaces ...Interface) (*Writer, error) {
	if len(interfaces) == 0 {
		return nil, errors.New("write pcapng: no interface is named")
	}
	out := &Writer{w: w, links: len(interfaces), ng: true}
	out.block(blockSection, func(b []byte) []byte {
		b = binary.LittleEndian.AppendUint32(b, 0x1a2b3c4d)
		b = append(b, 1, 0, 0, 0) // version 1.0
		b = binary.LittleEndian.AppendUint64(b, ^uint64(0))
		return endOptions(appendOption(b, 4, "tcppunch")) // shb_userappl
	})
	for _, i := range interfaces {
		out.block(blockInterface, i.append)
	}
	if err := out.flush(); err != nil {
		return nil, err
	}
	return out, nil
}

func (i Interface) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(i.LinkType))
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(i.SnapLen))
	if i.Name != "" {
		b = appendOption(b, optionName, i.Name)
	}
	if i.Description != "" {
		b = appendOption(b, optionDescription, i.Description)
	}
	return endOptions(appendOption(b, optionResolution, "\x09"))
}

// NewPcapWriter begins a classic pcap file with nanosecond times. It has one
// interface and no comments: those of a packet are left out.
func NewPcapWriter(w io.Writer, link LinkType, snapLen int) (*Writer, error) {
	if snapLen <= 0 {
		snapLen = maxPacket
	}
	out := &Writer{w: w, links: 1}
	b := binary.LittleEndian.AppendUint32(nil, magicNano)
	b = append(b, 2, 0, 4, 0)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(snapLen))
	out.buffer = binary.LittleEndian.AppendUint32(b, uint32(link))
	if err := out.flush(); err != nil {
		return nil, err
	}
	return out, nil
}

// WritePacket appends a packet. A Length below the captured length, such as
// the zero value, means that all of the packet was captured.
func (w *Writer) WritePacket(p Packet) error {
	switch {
	case p.Interface < 0 || p.Interface >= w.links:
		return fmt.Errorf("write packet: there is no interface %d", p.Interface)
	case len(p.Data) > maxPacket:
		return fmt.Errorf("write packet: %d bytes, and %d are the limit", len(p.Data), maxPacket)
	}
	if w.ng {
		w.block(blockEnhanced, func(b []byte) []byte { return appendEnhanced(b, p) })
	} else {
		w.buffer = appendClassic(w.buffer, p)
	}
	return w.flush()
}

func appendClassic(b []byte, p Packet) []byte {
	ticks := ticksOf(p.Time)
	b = binary.LittleEndian.AppendUint32(b, uint32(ticks/1e9))
	b = binary.LittleEndian.AppendUint32(b, uint32(ticks%1e9))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(p.Data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(max(p.Length, len(p.Data))))
	return append(b, p.Data...)
}

func appendEnhanced(b []byte, p Packet) []byte {
	ticks := ticksOf(p.Time)
	for _, word := range []uint32{uint32(p.Interface), uint32(ticks >> 32), uint32(ticks), uint32(len(p.Data)), uint32(max(p.Length, len(p.Data)))} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	b = pad(append(b, p.Data...))
	if len(p.Comments) == 0 && p.Direction == DirectionUnknown {
		return b
	}
	if p.Direction != DirectionUnknown {
		b = appendOption(b, optionFlags, string([]byte{byte(p.Direction), 0, 0, 0}))
	}
	for _, comment := range p.Comments[:min(len(p.Comments), maxComments)] {
		b = appendOption(b, optionComment, comment)
	}
	return endOptions(b)
}

// ticksOf is nanoseconds since 1970; a time before that, such as the zero Time,
// is written as 1970.
func ticksOf(t time.Time) uint64 {
	if t.Unix() < 0 {
		return 0
	}
	return uint64(t.Unix())*1e9 + uint64(t.Nanosecond())
}

// block appends a block to the buffer, whose length is a multiple of 4 before
// and after. A failure shows when the buffer is flushed.
func (w *Writer) block(kind uint32, body func([]byte) []byte) {
	start := len(w.buffer)
	b := binary.LittleEndian.AppendUint32(w.buffer, kind)
	b = body(append(b, 0, 0, 0, 0))
	total := uint32(len(b) - start + 4)
	binary.LittleEndian.PutUint32(b[start+4:], total)
	w.buffer = binary.LittleEndian.AppendUint32(b, total)
}

func (w *Writer) flush() error {
	_, err := w.w.Write(w.buffer)
	w.buffer = w.buffer[:0]
	if err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// maxComment keeps maxComments of them and a packet within maxBlock.
const maxComment = 2048

func appendOption(b []byte, code uint16, value string) []byte {
	value = value[:min(len(value), maxComment)]
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

func endOptions(b []byte) []byte { return append(b, 0, 0, 0, 0) }

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
