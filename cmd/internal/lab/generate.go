package lab

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"tcppunch/captures"
)

// CaptureConfig says what a made-up capture holds, for measuring readers.
type CaptureConfig struct {
	Packets int    `json:"packets"` // in all, met up to a few for each flow
	Flows   int    `json:"flows"`   // openings in all
	Live    int    `json:"live"`    // of these at the same time; 0 for all
	Seed    uint64 `json:"seed"`    // the same seed makes the same file
	Classic bool   `json:"classic"` // pcap rather than pcapng
}

// What becomes of 1000 flows: the rest are three-way handshakes that carry data
// and are closed.
const (
	unansweredOf1000 = 60
	refusedOf1000    = 39
	crossingOf1000   = 1
)

// WriteCapture makes up a capture: TCP over Ethernet, nine in ten over IPv4,
// in which the flows take turns in a random order. Each packet has 96 bytes at
// most, as tcpdump -s 96 would have kept them.
func WriteCapture(w io.Writer, c CaptureConfig) error {
	if c.Flows < 1 || c.Packets < c.Flows || c.Live < 0 {
		return fmt.Errorf("a capture of %d packets cannot hold %d flows", c.Packets, c.Flows)
	}
	buffered := bufio.NewWriterSize(w, 1<<20)
	out, err := captureWriter(buffered, c.Classic)
	if err != nil {
		return err
	}
	g := generator{CaptureConfig: c, random: rand.New(rand.NewPCG(c.Seed, 1)), now: time.Unix(1_780_000_000, 0).UTC()}
	if err := g.run(out); err != nil {
		return err
	}
	return buffered.Flush()
}

func captureWriter(w io.Writer, classic bool) (*captures.Writer, error) {
	if classic {
		return captures.NewPcapWriter(w, captures.LinkEthernet, madeSnapLen)
	}
	return captures.NewWriter(w, captures.Interface{Name: "made-up", LinkType: captures.LinkEthernet, SnapLen: madeSnapLen})
}

const madeSnapLen = 96

type generator struct {
	CaptureConfig
	random *rand.Rand
	now    time.Time
	begun  int // flows
	spare  int // packets that data may still fill up
	frame  [2048]byte
}

// madeFlow is a flow and how far it has come.
type madeFlow struct {
	number  uint32
	isn     [2]uint32
	sent    [2]uint32 // bytes, SYN and FIN included
	step    uint8
	data    uint8 // segments with data that are left
	kind    uint8
	clients uint16 // its port
}

const (
	madeThreeWay uint8 = iota
	madeUnanswered
	madeRefused
	madeCrossing
)

func (g *generator) run(out *captures.Writer) error {
	if g.Live == 0 || g.Live > g.Flows {
		g.Live = g.Flows
	}
	live := make([]madeFlow, g.Live)
	for i := range live {
		live[i] = g.begin()
	}
	for len(live) > 0 {
		i := g.random.IntN(len(live))
		g.now = g.now.Add(time.Duration(g.random.IntN(4000)))
		data, length, more := g.next(&live[i])
		if err := out.WritePacket(captures.Packet{Time: g.now, Data: data, Length: length}); err != nil {
			return err
		}
		switch {
		case more:
		case g.begun < g.Flows:
			live[i] = g.begin()
		default:
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
		}
	}
	return nil
}

// madePacketsOf is how many packets a flow of a kind has without data.
var madePacketsOf = map[uint8]int{madeThreeWay: 6, madeUnanswered: 3, madeRefused: 2, madeCrossing: 8}

func (g *generator) begin() madeFlow {
	f := madeFlow{number: uint32(g.begun), isn: [2]uint32{g.random.Uint32(), g.random.Uint32()}, clients: uint16(1024 + g.random.IntN(60000))}
	switch of1000 := g.begun % 1000; {
	case of1000 < unansweredOf1000:
		f.kind = madeUnanswered
	case of1000 < unansweredOf1000+refusedOf1000:
		f.kind = madeRefused
	case of1000 < unansweredOf1000+refusedOf1000+crossingOf1000:
		f.kind = madeCrossing
	}
	g.begun++
	share := int(int64(g.Packets)*int64(g.begun)/int64(g.Flows) - int64(g.Packets)*int64(g.begun-1)/int64(g.Flows))
	g.spare += share - madePacketsOf[f.kind]
	if f.kind == madeThreeWay && g.spare > 0 {
		n := min(g.spare, 250)
		f.data = uint8(n)
		g.spare -= n
	}
	return f
}

// madeSegment is one segment of a script; from 1 is the server.
type madeSegment struct {
	from  int
	flags byte
}

// The control bits of RFC 9293 section 3.1.
const (
	madeFIN = 0x01
	madeSYN = 0x02
	madeRST = 0x04
	madeACK = 0x10
)

var madeScripts = map[uint8][]madeSegment{
	madeThreeWay:   {{0, madeSYN}, {1, madeSYN | madeACK}, {0, madeACK}, {0, madeFIN | madeACK}, {1, madeFIN | madeACK}, {0, madeACK}},
	madeUnanswered: {{0, madeSYN}, {0, madeSYN}, {0, madeSYN}},
	madeRefused:    {{0, madeSYN}, {1, madeRST | madeACK}},
	madeCrossing: {{0, madeSYN}, {1, madeSYN}, {0, madeSYN | madeACK}, {1, madeSYN | madeACK}, {0, madeACK}, {1, madeACK},
		{0, madeFIN | madeACK}, {1, madeFIN | madeACK}},
}

// next makes the flow's next frame; more is false for the last one.
func (g *generator) next(f *madeFlow) (frame []byte, length int, more bool) {
	script := madeScripts[f.kind]
	if f.step == 3 && f.data > 0 { // between the opening and the close of a three-way handshake
		f.data--
		from := int(f.data & 1)
		frame, length = g.make(f, madeSegment{from, madeACK}, 200+100*int(f.data%10))
		return frame, length, true
	}
	x := script[f.step]
	f.step++
	frame, length = g.make(f, x, 0)
	return frame, length, int(f.step) < len(script)
}

// make lays out a segment. Its sequence number is the flow's next, or that of
// the SYN again where SYN is set.
func (g *generator) make(f *madeFlow, x madeSegment, payload int) ([]byte, int) {
	b := g.frame[:0]
	b = append(b, 2, 0, 0, 0, 0, byte(1-x.from), 2, 0, 0, 0, 0, byte(x.from))
	options := madeOptions(x.flags, uint32(g.now.UnixMilli()))
	segment := 20 + len(options) + payload
	is6 := f.number%10 == 9
	start := len(b) + 2
	if is6 {
		b = madeIPv6(append(b, 0x86, 0xdd), f, x.from, segment)
	} else {
		b = madeIPv4(append(b, 8, 0), f, x.from, segment, uint16(g.random.Uint32()))
	}
	tcp := len(b)
	b = append(b, make([]byte, 20)...)
	b = append(b, options...)
	b = append(b, g.frame[len(b):len(b)+payload]...)
	f.header(b[tcp:], x, payload, len(options))
	binary.BigEndian.PutUint16(b[tcp+16:], madeChecksum(b[start:tcp], b[tcp:], is6))
	return b[:min(len(b), madeSnapLen)], len(b)
}

// header fills in the TCP header and moves the flow on.
func (f *madeFlow) header(t []byte, x madeSegment, payload, options int) {
	ports := [2]uint16{f.clients, 443}
	seq, ack := f.isn[x.from]+f.sent[x.from], uint32(0)
	if x.flags&madeSYN != 0 {
		seq = f.isn[x.from]
		f.sent[x.from] = 1
	}
	if x.flags&madeRST != 0 {
		seq = 0
	}
	if x.flags&madeACK != 0 {
		ack = f.isn[1-x.from] + f.sent[1-x.from]
	}
	binary.BigEndian.PutUint16(t, ports[x.from])
	binary.BigEndian.PutUint16(t[2:], ports[1-x.from])
	binary.BigEndian.PutUint32(t[4:], seq)
	binary.BigEndian.PutUint32(t[8:], ack)
	t[12], t[13] = byte(5+options/4)<<4, x.flags
	binary.BigEndian.PutUint16(t[14:], 64240)
	f.sent[x.from] += uint32(payload)
	if x.flags&madeFIN != 0 {
		f.sent[x.from]++
	}
}

// madeOptions are those of Linux.
func madeOptions(flags byte, now uint32) []byte {
	switch {
	case flags&madeRST != 0:
		return nil
	case flags&madeSYN != 0:
		b := binary.BigEndian.AppendUint32([]byte{2, 4, 0x05, 0xb4, 4, 2, 8, 10}, now)
		return append(b, 0, 0, 0, 0, 1, 3, 3, 7)
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte{1, 1, 8, 10}, now), now-20)
}

// madeIPv4 uses 10.0.0.0/8 for clients and 198.18.0.0/15 for servers.
func madeIPv4(b []byte, f *madeFlow, from, segment int, id uint16) []byte {
	ends := [2]uint32{0x0a000000 | f.number&0xffffff, 0xc6120000 | f.number*2654435761>>15&0x1ffff}
	start := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+segment))
	b = binary.BigEndian.AppendUint16(b, id)
	b = append(b, 0x40, 0, 64, 6, 0, 0)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, ends[from]), ends[1-from])
	binary.BigEndian.PutUint16(b[start+10:], ^fold(sum16(b[start:])))
	return b
}

// madeIPv6 uses the documentation prefix 2001:db8::/32.
func madeIPv6(b []byte, f *madeFlow, from, segment int) []byte {
	ends := [2]uint64{uint64(f.number), 1<<32 | uint64(f.number*2654435761>>12)}
	b = append(b, 0x60, 0, 0, 0)
	b = append(binary.BigEndian.AppendUint16(b, uint16(segment)), 6, 64)
	for _, end := range []uint64{ends[from], ends[1-from]} {
		b = binary.BigEndian.AppendUint64(append(b, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0), end)
	}
	return b
}

func sum16(b []byte) (sum uint32) {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// madeChecksum is that of RFC 9293 section 3.1, of a segment whose checksum is 0.
func madeChecksum(ip, tcp []byte, is6 bool) uint16 {
	addresses := ip[12:20]
	if is6 {
		addresses = ip[8:40]
	}
	return ^fold(sum16(addresses) + 6 + uint32(len(tcp)) + sum16(tcp))
}
