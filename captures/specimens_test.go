package captures

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recordVariable, if set, makes TestEverySpecimenYieldsItsVerdict write
// captures/testdata anew:
//
//	TCPPUNCH_RECORD_CAPTURES=1 go test ./captures -run Specimen
const recordVariable = "TCPPUNCH_RECORD_CAPTURES"

// specimen is a capture for a place where gopacket is not relied on, or not as
// it is: testdata holds a file for each.
type specimen struct {
	name    string // of the file
	data    []byte
	verdict Verdict
	problem string // which reading it meets, "" for none
}

// crossed is the exchange in most of them.
var crossed = []string{"A syn 100", "B syn 900", "A syn-ack 100 901", "B syn-ack 900 101", "A ack 101 901", "B ack 901 101"}

func specimens(t *testing.T) (list []specimen) {
	list = append(list, fileSpecimens(t)...)
	for name, wrap := range map[string]struct {
		link LinkType
		wrap func([]byte) []byte
	}{
		"link-sll":               {LinkSLL, prefix(t, "0000 0001 0006 020000000001 0000 0800")},
		"link-sll-long-address":  {LinkSLL, prefix(t, "0000 0001 ffff 020000000001 0000 0800")}, // gopacket's LinuxSLL panics
		"link-sll2":              {LinkSLL2, prefix(t, "0800 0000 00000007 0001 00 06 020000000001 0000")},
		"link-null-other-family": {LinkNull, prefix(t, "0000001e")}, // another machine's, in the other byte order
		"link-loop":              {LinkLoop, prefix(t, "00000002")},
		"link-ppp":               {LinkPPP, prefix(t, "ff03 0021")},
		"link-ppp-compressed":    {LinkPPP, prefix(t, "21")},
		"ip4-length-0":           {LinkRaw, func(p []byte) []byte { p[2], p[3] = 0, 0; return p }},
		"ip4-first-fragment":     {LinkRaw, func(p []byte) []byte { p[6] = 0x20; return p }},
		"ip4-damaged-options":    {LinkRaw, damageIPOptions},
		"ip6-jumbogram":          {LinkRaw, six(t, "c2 04 00000000", 0)},
		"ip6-hop-by-hop-unknown": {LinkRaw, six(t, "3e 04 00000000", 0)},
		"ip6-padding":            {LinkRaw, six(t, "01 04 00000000", 6)},
		"ip6-length-0":           {LinkRaw, func(p []byte) []byte { p = six(t, "", 0)(p); p[4], p[5] = 0, 0; return p }},
		"tcp-options-cut-off":    {LinkRaw, func(p []byte) []byte { p[32] = 10 << 4; return p }},
	} {
		list = append(list, specimen{name: name + ".pcap", data: classic(t, wrap.link, crossed, wrap.wrap)})
	}
	for name, head := range tunnels {
		name = "tunnel-" + strings.ReplaceAll(strings.ToLower(name), " ", "-") + ".pcap"
		list = append(list, specimen{name: name, data: classic(t, LinkEthernet, crossed, func(p []byte) []byte { return tunnel(t, head, p) })})
	}
	for i := range list {
		if list[i].verdict == VerdictUnknown && list[i].problem == "" {
			list[i].verdict = VerdictSimultaneousOpen
		}
	}
	return list
}

// fileSpecimens are for the places where pcapgo's readers are not used.
func fileSpecimens(t *testing.T) []specimen {
	whole := captureOf(t, crossed...)
	claim := &ng{order: binary.LittleEndian}
	claim.section()
	claim.link(1)
	claim.data = append(claim.data, claim.words(blockInterface, 0x7ffffff0)...)
	snap := classic(t, LinkRaw, crossed, func(p []byte) []byte { return p })
	binary.LittleEndian.PutUint32(snap[16:], 16) // every packet is longer than that
	return []specimen{
		{name: "file-comments.pcapng", data: whole},
		{name: "file-cut-short.pcapng", data: whole[:len(whole)-9], problem: "cut short", verdict: VerdictSimultaneousOpen},
		{name: "file-claimed-length.pcapng", data: claim.data, problem: "2147483632"},
		{name: "file-resolution-127.pcapng", data: resolved(t, 127)},
		{name: "file-resolution-255.pcapng", data: resolved(t, 255)},
		{name: "file-second-link-type.pcapng", data: secondLink(t)},
		{name: "file-beyond-snaplen.pcap", data: snap},
		{name: "icmp-quotes-28-bytes.pcapng", data: captureOf(t, "A syn 100", "A icmp 100"), verdict: VerdictICMPRejected},
	}
}

func prefix(t *testing.T, head string) func([]byte) []byte {
	return func(p []byte) []byte { return append(bytesOf(t, head), p...) }
}

func damageIPOptions(p []byte) []byte {
	out := append(append(bytes.Clone(p[:20]), 0x44, 0xff, 1, 1), p[20:]...) // an option longer than its header
	out[0], out[3] = 0x46, out[3]+4
	return out
}

// six carries a packet's segment over IPv6, behind a hop-by-hop header with one
// option, if any, and before padding of the frame.
func six(t *testing.T, option string, padding int) func([]byte) []byte {
	return func(p []byte) []byte {
		out := bytesOf(t, "60000000 0000 06 40 20010db8000000000000000000000000 20010db8000000000000000000000000")
		copy(out[20:], p[12:16])
		copy(out[36:], p[16:20])
		rest := p[20:]
		if option != "" {
			out[6] = 0
			rest = append(append([]byte{6, 0}, bytesOf(t, option)...), rest...)
		}
		binary.BigEndian.PutUint16(out[4:], uint16(len(rest)))
		if len(rest) > 4 && rest[2] == 0xc2 {
			binary.BigEndian.PutUint16(out[4:], 0)
			binary.BigEndian.PutUint32(rest[4:], uint32(len(rest)))
		}
		return append(append(out, rest...), make([]byte, padding)...)
	}
}

// classic writes a script as a classic file of a link type.
func classic(t *testing.T, link LinkType, lines []string, wrap func([]byte) []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewPcapWriter(&file, link, maxPacket)
	if err != nil {
		t.Fatal(err)
	}
	now := dawn
	for _, line := range lines {
		gap, packet := frame(t, line, LinkRaw)
		now = now.Add(gap)
		if err := w.WritePacket(Packet{Time: now, Data: wrap(packet)}); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

// resolved is a file whose times have a resolution that pcapgo divides by zero
// or overflows with.
func resolved(t *testing.T, resolution byte) []byte {
	b := &ng{order: binary.LittleEndian}
	b.section()
	b.link(uint16(LinkRaw), append(b.words(9|1<<16), resolution, 0, 0, 0)...) // if_tsresol
	for i, line := range crossed {
		b.packet(t, 0, uint32(i), line, nil)
	}
	return b.data
}

// secondLink is a file whose packets are of the second of two link types, which
// has more than eight bits.
func secondLink(t *testing.T) []byte {
	b := &ng{order: binary.BigEndian}
	b.section()
	b.link(uint16(LinkEthernet))
	b.link(uint16(LinkSLL2))
	for i, line := range crossed {
		b.packet(t, 1, uint32(i*10_000), line, prefix(t, "0800 0000 00000007 0001 00 06 020000000001 0000"))
	}
	return b.data
}

func (b *ng) packet(t *testing.T, link, ticks uint32, line string, wrap func([]byte) []byte) {
	_, packet := frame(t, line, LinkRaw)
	if wrap != nil {
		packet = wrap(packet)
	}
	b.block(blockEnhanced, append(b.words(link, 0, ticks, uint32(len(packet)), uint32(len(packet))), packet...))
}

func TestEverySpecimenYieldsItsVerdict(t *testing.T) {
	known := map[string]bool{}
	for _, s := range specimens(t) {
		known[s.name] = true
		path := filepath.Join("testdata", s.name)
		if os.Getenv(recordVariable) != "" {
			if err := os.WriteFile(path, s.data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, s.data) {
			t.Errorf("%s is not what this test makes (%v): set %s=1 to write it anew", path, err, recordVariable)
			continue
		}
		check(t, s)
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.pcap*"))
	if err != nil || len(files) != len(known) {
		t.Errorf("testdata holds %d captures, want %d (%v)", len(files), len(known), err)
	}
}

func check(t *testing.T, s specimen) {
	t.Helper()
	a, err := Analyze([]Source{{Name: s.name, Reader: bytes.NewReader(s.data)}}, Filter{})
	if err != nil {
		t.Errorf("%s: %v", s.name, err)
		return
	}
	problems := strings.Join(a.Files[0].Problems, "; ")
	if (problems == "") != (s.problem == "") || !strings.Contains(problems, s.problem) {
		t.Errorf("%s: got the problems %q, want %q", s.name, problems, s.problem)
	}
	switch {
	case s.verdict == VerdictUnknown && len(a.Handshakes) > 0:
		t.Errorf("%s: got %v, want no opening", s.name, a.Summary)
	case s.verdict != VerdictUnknown && (len(a.Handshakes) != 1 || a.Handshakes[0].Verdict != s.verdict):
		t.Errorf("%s: got %v, want %v", s.name, a.Summary, s.verdict)
	}
}
