package captures

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	hostA = netip.MustParseAddrPort("192.0.2.1:4001")
	hostB = netip.MustParseAddrPort("198.51.100.2:5001")
	dawn  = time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
)

// frame is one line of a script: "A syn-ack 100 901", and then optionally
// "+5ms" since the frame before (10 ms otherwise), "len=9", "ttl=61".
func frame(t testing.TB, line string, link LinkType) (time.Duration, []byte) {
	t.Helper()
	words := strings.Fields(line)
	gap, ttl, length := 10*time.Millisecond, 64, 0
	var numbers []uint32
	for _, w := range words[2:] {
		var n uint32
		switch {
		case w[0] == '+':
			d, err := time.ParseDuration(w[1:])
			if err != nil {
				t.Fatal(err)
			}
			gap = d
		case strings.HasPrefix(w, "ttl="):
			fmt.Sscanf(w, "ttl=%d", &ttl)
		case strings.HasPrefix(w, "len="):
			fmt.Sscanf(w, "len=%d", &length)
		default:
			fmt.Sscan(w, &n)
			numbers = append(numbers, n)
		}
	}
	numbers = append(numbers, 0, 0)
	tcp := layers.TCP{Seq: numbers[0], Ack: numbers[1], Window: 1000}
	if words[1] == "data" {
		length = max(length, 5)
	}
	tcp.SYN = words[1] == "syn" || words[1] == "syn-ack"
	tcp.RST = words[1] == "rst" || words[1] == "rst-ack"
	tcp.FIN = words[1] == "fin"
	tcp.ACK = words[1] != "syn" && words[1] != "rst"
	if strings.HasPrefix(words[1], "icmp") {
		return gap, icmpFrame(t, words[0], tcp)
	}
	return gap, tcpFrame(t, words[0], tcp, byte(ttl), length, link)
}

func endsOf(from string) (netip.AddrPort, netip.AddrPort) {
	if from == "B" {
		return hostB, hostA
	}
	return hostA, hostB
}

func serialize(t testing.TB, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tcpFrame(t testing.TB, from string, tcp layers.TCP, ttl byte, length int, link LinkType) []byte {
	t.Helper()
	src, dst := endsOf(from)
	ip := layers.IPv4{Version: 4, TTL: ttl, Protocol: layers.IPProtocolTCP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
	tcp.SrcPort, tcp.DstPort = layers.TCPPort(src.Port()), layers.TCPPort(dst.Port())
	tcp.SetNetworkLayerForChecksum(&ip)
	packet := serialize(t, &ip, &tcp, gopacket.Payload(make([]byte, length)))
	head := map[LinkType]string{
		LinkEthernet: "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00",
		LinkSLL:      "\x00\x00\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00\x08\x00",
		LinkSLL2:     "\x08\x00\x00\x00\x00\x00\x00\x07\x00\x01\x00\x06\x02\x00\x00\x00\x00\x01\x00\x00",
		LinkNull:     "\x02\x00\x00\x00", LinkLoop: "\x00\x00\x00\x02", LinkPPP: "\xff\x03\x00\x21",
	}[link]
	return append([]byte(head), packet...)
}

// icmpFrame is an error that a router sends about the segment that from sent.
func icmpFrame(t testing.TB, from string, tcp layers.TCP) []byte {
	t.Helper()
	src, dst := endsOf(from)
	tcp.SYN, tcp.ACK = true, false
	quoted := tcpFrame(t, from, tcp, 1, 0, LinkRaw)
	ip := layers.IPv4{Version: 4, TTL: 60, Protocol: layers.IPProtocolICMPv4, SrcIP: net.IPv4(203, 0, 113, 9), DstIP: src.Addr().AsSlice()}
	_ = dst
	icmp := layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 13)}
	ethernet := layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: make(net.HardwareAddr, 6), EthernetType: layers.EthernetTypeIPv4}
	return serialize(t, &ethernet, &ip, &icmp, gopacket.Payload(quoted[:28]))
}

// play analyses a script as one file.
func play(t testing.TB, lines ...string) []Handshake {
	t.Helper()
	var a Analyzer
	feedScript(t, &a, 0, lines)
	return a.Handshakes()
}

func feedScript(t testing.TB, a *Analyzer, file int, lines []string) {
	t.Helper()
	now := dawn
	for _, line := range lines {
		gap, data := frame(t, line, LinkEthernet)
		now = now.Add(gap)
		a.Add(file, LinkEthernet, Packet{Time: now, Data: data, Length: len(data)})
	}
}

func marshal(t testing.TB, value any) []byte {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func captureOf(t testing.TB, lines ...string) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file, Interface{Name: "eth0", LinkType: LinkEthernet})
	if err != nil {
		t.Fatal(err)
	}
	now := dawn
	for _, line := range lines {
		gap, data := frame(t, line, LinkEthernet)
		now = now.Add(gap)
		if err := w.WritePacket(Packet{Time: now, Data: data, Comments: []string{line}}); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}
