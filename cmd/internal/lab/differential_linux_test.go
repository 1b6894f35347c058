package lab

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tcppunch/predict/nat"
	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// The differential test carries the same segments through a kernel NAT with the
// rules of the linux profile and through the emulator, and compares what comes
// out on either side. The namespaces on either side have no addresses, so that
// nobody but the NAT answers.

var (
	diffInside   = netip.MustParseAddr("192.168.1.2")
	diffExternal = netip.MustParseAddr("198.51.100.1")
	diffPeer     = netip.MustParseAddr("203.0.113.1")
	diffRouter   = netip.MustParseAddr("198.18.0.1") // an address between NAT and peer
	marker       = netip.AddrPortFrom(netip.MustParseAddr("203.0.113.99"), 9)
)

// wire is a packet socket at one end of a cable to the NAT.
type wireEnd struct {
	t    testing.TB
	name string
	fd   int
	to   net.HardwareAddr // the NAT's end
}

// kernelNAT is a namespace with the rules of the lab, and a wire on either side.
type kernelNAT struct {
	t               testing.TB
	inside, outside *wireEnd
	marks           uint32
}

func newKernelNAT(t testing.TB, b Box) *kernelNAT {
	t.Helper()
	netlabtest.Require(t)
	box, in, out := netlabtest.Namespace(t, "box"), netlabtest.Namespace(t, "inside"), netlabtest.Namespace(t, "outside")
	must(t, netlab.Veth(in, "eth0", box, "lan"))
	must(t, netlab.Veth(out, "eth0", box, "wan"))
	must(t, box.AddAddress("lan", netip.MustParsePrefix("192.168.1.1/24")))
	must(t, box.AddAddress("wan", netip.PrefixFrom(diffExternal, 32)))
	must(t, silenceARP(box, "lan", "wan"))
	must(t, box.AddRoute(default4, netip.Addr{}, "wan"))
	must(t, forward(box))
	must(t, program(box, b, diffExternal))
	return &kernelNAT{t: t, inside: newWireEnd(t, in, "inside", hardwareOf(t, box, "lan")), outside: newWireEnd(t, out, "outside", hardwareOf(t, box, "wan"))}
}

// silenceARP makes the kernel send without asking who is there.
func silenceARP(ns *netlab.Namespace, links ...string) error {
	return ns.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer h.Close()
		for _, name := range links {
			link, err := h.LinkByName(name)
			if err != nil {
				return err
			}
			if err := h.LinkSetARPOff(link); err != nil {
				return err
			}
		}
		return nil
	})
}

func hardwareOf(t testing.TB, ns *netlab.Namespace, link string) (a net.HardwareAddr) {
	t.Helper()
	must(t, ns.Do(func() error {
		i, err := net.InterfaceByName(link)
		if err == nil {
			a = i.HardwareAddr
		}
		return err
	}))
	return a
}

func newWireEnd(t testing.TB, ns *netlab.Namespace, name string, to net.HardwareAddr) *wireEnd {
	t.Helper()
	w := &wireEnd{t: t, name: name, to: to}
	must(t, ns.Do(func() (err error) {
		i, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		const proto = unix.ETH_P_IP&0xff<<8 | unix.ETH_P_IP>>8 // in network byte order
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(proto)); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: i.Index})
	}))
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func (w *wireEnd) send(p []byte) {
	w.t.Helper()
	frame := append(append(append([]byte{}, w.to...), 2, 0, 0, 0, 0, 1, 0x08, 0x00), p...)
	if err := unix.Sendto(w.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.index()}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wireEnd) index() int {
	sa, err := unix.Getsockname(w.fd)
	if err != nil {
		w.t.Fatal(err)
	}
	return sa.(*unix.SockaddrLinklayer).Ifindex
}

// receive returns the next packet that the NAT sent, or nil after the wait.
func (w *wireEnd) receive(wait time.Duration) []byte {
	w.t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if n == 0 {
			return nil
		}
		b := make([]byte, 2048)
		length, from, err := unix.Recvfrom(w.fd, b, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
			return b[14:length]
		}
	}
}

// carry sends a packet and returns what came out, as lines. A marker follows
// the packet through the NAT both ways: what it does not overtake was sent
// before it. One processor does all, so that the order is kept.
func (k *kernelNAT) carry(from *wireEnd, p []byte) []string {
	k.t.Helper()
	from.send(p)
	var out []string
	k.marks++
	source := netip.AddrPortFrom(diffInside, 9)
	k.inside.send(datagramBytes(source, marker, k.marks))
	out = append(out, k.until(k.outside)...)
	k.outside.send(datagramBytes(marker, netip.AddrPortFrom(diffExternal, 9), k.marks))
	return append(out, k.until(k.inside)...)
}

// until collects what comes before the marker.
func (k *kernelNAT) until(w *wireEnd) (out []string) {
	k.t.Helper()
	for {
		p := w.receive(2 * time.Second)
		if p == nil {
			k.t.Fatalf("the marker did not come out %s", w.name)
		}
		if p[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint32(p[28:]) == k.marks {
			return out
		}
		out = append(out, w.name+" "+packetLine(p))
	}
}

func datagramBytes(from, to netip.AddrPort, n uint32) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	udp.SetNetworkLayerForChecksum(ip)
	return serialize(ip, udp, gopacket.Payload(binary.BigEndian.AppendUint32(nil, n)))
}

func serialize(stack ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		panic(err) // of layers that the test itself made
	}
	return b.Bytes()
}

// packetLine is a packet but for TTL and identification.
func packetLine(p []byte) string {
	ip, ok := parsed(p)
	if !ok {
		return fmt.Sprintf("%x", p)
	}
	s := fmt.Sprintf("%v > %v ", ip.SrcIP, ip.DstIP)
	switch ip.Protocol {
	case layers.IPProtocolTCP:
		return s + describeTCP(ip.Payload)
	case layers.IPProtocolICMPv4:
		quoted := ip.Payload[8:]
		return s + fmt.Sprintf("ICMP %d/%d about [%s]", ip.Payload[0], ip.Payload[1], packetLine(quoted))
	}
	return s + fmt.Sprintf("%v %x", ip.Protocol, ip.Payload)
}

func parsed(p []byte) (ip layers.IPv4, ok bool) {
	err := ip.DecodeFromBytes(p, gopacket.NilDecodeFeedback)
	return ip, err == nil
}

func describeTCP(b []byte) string {
	var tcp layers.TCP
	if err := tcp.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		return fmt.Sprintf("%x", b)
	}
	return fmt.Sprintf("%d>%d %s seq %d ack %d win %d len %d options %d", tcp.SrcPort, tcp.DstPort, flagNames(b[13]), tcp.Seq, tcp.Ack, tcp.Window, len(tcp.Payload), len(tcp.Options))
}

func flagNames(f byte) string {
	var names []string
	for i, name := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG"} {
		if f>>i&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// A step is one packet of a script, or a pause.
type step struct {
	out    bool
	flags  nat.Flags
	seq    uint32
	ack    uint32
	data   int
	window uint16
	peer   int // another port of the peer
	icmp   *[2]uint8
	pause  time.Duration
}

func o(f nat.Flags, seq, ack uint32) step { return step{out: true, flags: f, seq: seq, ack: ack} }
func i(f nat.Flags, seq, ack uint32) step { return step{flags: f, seq: seq, ack: ack} }

// fails is an ICMP error from outside about the inside's SYN.
func fails(kind, code uint8) step { return step{icmp: &[2]uint8{kind, code}, seq: isn} }

func (s step) String() string {
	switch {
	case s.pause > 0:
		return "pause " + s.pause.String()
	case s.icmp != nil:
		return fmt.Sprintf("in ICMP %d/%d", s.icmp[0], s.icmp[1])
	}
	way := map[bool]string{true: "out", false: "in"}[s.out]
	return fmt.Sprintf("%s %s seq %d ack %d len %d peer %d", way, flagNames(byte(s.flags)), s.seq, s.ack, s.data, s.peer)
}

// bytes makes the packet of a step. Every script has a port of its own.
func (s step) bytes(port uint16) []byte {
	inside, outside := netip.AddrPortFrom(diffInside, port), netip.AddrPortFrom(diffExternal, port)
	peer := netip.AddrPortFrom(diffPeer, uint16(6000+s.peer))
	switch {
	case s.icmp != nil:
		quote := step{out: true, flags: nat.SYN, seq: s.seq}.segment(outside, peer)
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: diffRouter.AsSlice(), DstIP: diffExternal.AsSlice()}
		return serialize(ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(s.icmp[0], s.icmp[1])}, gopacket.Payload(quote))
	case s.out:
		return s.segment(inside, peer)
	}
	return s.segment(peer, outside)
}

func (s step) segment(from, to netip.AddrPort) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Seq: s.seq, Ack: s.ack, Window: 64240,
		SYN: s.flags.Has(nat.SYN), ACK: s.flags.Has(nat.ACK), RST: s.flags.Has(nat.RST), FIN: s.flags.Has(nat.FIN), PSH: s.flags.Has(nat.PSH)}
	if s.window != 0 {
		tcp.Window = s.window
	}
	if tcp.RST {
		tcp.Window = 0
	}
	if tcp.SYN {
		tcp.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}},
			{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2}, {OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}}}
	}
	tcp.SetNetworkLayerForChecksum(ip)
	return serialize(ip, tcp, gopacket.Payload(make([]byte, s.data)))
}

// The inside starts at isn, the peer at far.
const isn, far = 1_000_000, 3_000_000_000

// A script is an exchange that both NATs must treat alike.
type script struct {
	name  string
	steps []step
}

const synack, rstack = nat.SYN | nat.ACK, nat.RST | nat.ACK

var crossed = []step{o(nat.SYN, isn, 0), i(nat.SYN, far, 0)}

func then(first []step, more ...step) []step {
	return append(first[:len(first):len(first)], more...)
}

var scripts = []script{
	{"three-way", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), {out: true, flags: nat.ACK | nat.PSH, seq: isn + 1, ack: far + 1, data: 100},
		i(nat.ACK, far+1, isn+101), o(nat.FIN|nat.ACK, isn+101, far+1), i(nat.FIN|nat.ACK, far+1, isn+102), o(nat.ACK, isn+102, far+2), i(nat.ACK, far+2, isn+102)}},
	{"crossing", then(crossed, o(synack, isn, far+1), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), i(nat.ACK, far+1, isn+1),
		step{out: true, flags: nat.ACK | nat.PSH, seq: isn + 1, ack: far + 1, data: 10}, i(nat.ACK, far+1, isn+11))},
	{"crossing, SYNs again", then(crossed, o(nat.SYN, isn, 0), i(nat.SYN, far, 0), i(synack, far, isn+1), i(synack, far, isn+1), o(synack, isn, far+1), o(nat.ACK, isn+1, far+1))},
	{"late SYN", []step{i(nat.SYN, far, 0), o(nat.SYN, isn, 0), i(nat.SYN, far, 0), o(synack, isn, far+1), i(nat.ACK, far+1, isn+1)}},
	{"late side", []step{i(nat.SYN, far, 0), o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"RST and ACK in SYN_SENT", []step{o(nat.SYN, isn, 0), i(rstack, 0, isn+1), i(synack, far, isn+1), i(nat.SYN, far, 0), o(nat.SYN, isn+7, 0), i(synack, far, isn+8)}},
	{"bare RST in SYN_SENT", []step{o(nat.SYN, isn, 0), i(nat.RST, 12345, 0), i(nat.SYN, far, 0), o(nat.SYN, isn, 0), i(nat.SYN, far, 0)}},
	{"bare RST of 0 in SYN_SENT", []step{o(nat.SYN, isn, 0), i(nat.RST, 0, 0), i(nat.SYN, far, 0)}},
	{"RST that acknowledges too much", []step{o(nat.SYN, isn, 0), i(rstack, 0, isn+2), i(synack, far, isn+1)}},
	{"RST that acknowledges too little", []step{o(nat.SYN, isn, 0), i(rstack, 0, isn), i(synack, far, isn+1)}},
	{"RST that acknowledges nothing known", []step{o(nat.SYN, isn, 0), i(rstack, 0, isn-500_000), i(synack, far, isn+1)}},
	{"SYN-ACK that acknowledges too much", []step{o(nat.SYN, isn, 0), i(synack, far, isn+2), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"SYN-ACK that acknowledges too little", []step{o(nat.SYN, isn, 0), i(synack, far, isn), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"SYN-ACK that acknowledges nothing known", []step{o(nat.SYN, isn, 0), i(synack, far, isn-500_000), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"ICMP errors", []step{o(nat.SYN, isn, 0), fails(11, 0), fails(3, 1), fails(3, 3), fails(3, 13), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"ICMP error about nothing", []step{fails(3, 3), o(nat.SYN, isn, 0)}},
	{"greater ISN in SYN_SENT", []step{o(nat.SYN, isn, 0), o(nat.SYN, isn+70_000, 0), i(synack, far, isn+70_001), o(nat.ACK, isn+70_001, far+1)}},
	{"lesser ISN in SYN_SENT", []step{o(nat.SYN, isn, 0), o(nat.SYN, isn-70_000, 0), i(synack, far, isn-69_999), i(synack, far, isn+1), o(nat.ACK, isn-69_999, far+1)}},
	{"much lesser ISN in SYN_SENT", []step{o(nat.SYN, isn, 0), o(nat.SYN, isn-700_000, 0), i(synack, far, isn-699_999), o(nat.ACK, isn-699_999, far+1)}},
	{"ISN 500 greater in SYN_SENT2", then(crossed, o(nat.SYN, isn+500, 0), i(synack, far, isn+501), o(nat.ACK, isn+501, far+1))},
	{"ISN 500 lesser in SYN_SENT2", then(crossed, o(nat.SYN, isn-500, 0), i(synack, far, isn-499))},
	{"ISN 70000 greater in SYN_SENT2", then(crossed, o(nat.SYN, isn+70_000, 0), i(synack, far, isn+70_001))},
	{"ISN 70000 lesser in SYN_SENT2", then(crossed, o(nat.SYN, isn-70_000, 0), i(synack, far, isn-69_999))},
	{"ISN a million greater in SYN_SENT2", then(crossed, o(nat.SYN, isn+1_000_000, 0), i(synack, far, isn+1_000_001))},
	{"peer's greater ISN in SYN_SENT2", then(crossed, i(nat.SYN, far+70_000, 0), o(synack, isn, far+70_001), i(synack, far+70_000, isn+1))},
	{"peer's lesser ISN in SYN_SENT2", then(crossed, i(nat.SYN, far-70_000, 0), o(synack, isn, far-69_999))},
	{"RST and ACK in SYN_SENT2", then(crossed, i(rstack, 0, isn+1), o(nat.SYN, isn, 0), i(nat.SYN, far, 0), o(nat.SYN, isn+500, 0), i(synack, far, isn+1))},
	{"bare RST in SYN_SENT2", then(crossed, i(nat.RST, far+1, 0), o(nat.SYN, isn, 0), i(synack, far, isn+1))},
	{"bare RST far off in SYN_SENT2", then(crossed, i(nat.RST, far+1_000_000, 0), o(synack, isn, far+1))},
	{"own RST in SYN_SENT2", then(crossed, o(rstack, isn+1, far+1), o(nat.SYN, isn+9, 0), i(synack, far, isn+10))},
	{"own bare RST in SYN_SENT2", then(crossed, o(nat.RST, isn+1, 0), o(nat.SYN, isn+9, 0), i(synack, far, isn+10))},
	{"RST in SYN_RECV", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), i(nat.RST, far+1, 0), o(nat.ACK, isn+1, far+1), o(nat.SYN, isn+7, 0)}},
	{"RST and ACK in SYN_RECV", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), i(rstack, far+1, isn+1), o(nat.SYN, isn+7, 0), i(synack, far+9, isn+8), o(nat.ACK, isn+8, far+10)}},
	{"own RST in SYN_RECV", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.RST, isn+1, 0), o(nat.SYN, isn+7, 0), i(synack, far, isn+8), o(nat.ACK, isn+8, far+1)}},
	{"RST with a wrong number in SYN_RECV", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), i(nat.RST, far+5_000_000, 0), o(nat.ACK, isn+1, far+1)}},
	{"RST when established", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), i(nat.RST, far+1, 0), i(nat.ACK, far+1, isn+1), o(nat.SYN, isn+7, 0)}},
	{"RST beside the number when established", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), i(nat.RST, far+100, 0), o(nat.ACK, isn+1, far+1), i(nat.RST, far-9, 0), i(nat.ACK, far+1, isn+1)}},
	{"SYN-ACK by hand", []step{o(nat.SYN, isn, 0), o(synack, isn, far+1), i(synack, far, isn+1)}},
	{"no connection starts like this", []step{o(synack, isn, far), o(nat.FIN|nat.ACK, isn, far), o(rstack, isn, far), o(nat.RST, isn, 0), i(synack, far, isn)}},
	{"picked up in the middle", []step{o(nat.ACK, isn, far), i(nat.ACK, far, isn), {out: true, flags: nat.ACK, seq: isn, ack: far, data: 50}, i(nat.ACK, far, isn+50)}},
	{"unsolicited ones", []step{i(synack, far, isn), i(nat.ACK, far, isn), i(nat.FIN|nat.ACK, far, isn), i(nat.RST, far, 0), i(rstack, far, isn), i(nat.SYN, far, 0), i(nat.SYN|nat.FIN, far, 0)}},
	{"repeated SYNs", []step{o(nat.SYN, isn, 0), o(nat.SYN, isn, 0), o(nat.SYN, isn, 0), i(synack, far, isn+1), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"one mapping for two peers", []step{o(nat.SYN, isn, 0), {out: true, flags: nat.SYN, seq: isn, peer: 1}, {flags: synack, seq: far, ack: isn + 1, peer: 1}, i(nat.SYN, far, 0), {flags: nat.SYN, seq: far, peer: 2}}},
	{"ACK in SYN_SENT", []step{o(nat.SYN, isn, 0), i(nat.ACK, far, isn-100), o(nat.RST, isn-100, 0), o(nat.SYN, isn, 0), i(synack, far, isn+1)}},
	{"ACK in SYN_SENT2", then(crossed, i(nat.ACK, far+1, isn+1), o(nat.ACK, isn+1, far+1), o(synack, isn, far+1), i(nat.ACK, far+1, isn+1), o(nat.ACK, isn+1, far+1))},
	{"data beyond the window", []step{o(nat.SYN, isn, 0), {flags: synack, seq: far, ack: isn + 1, window: 1000}, o(nat.ACK, isn+1, far+1),
		{out: true, flags: nat.ACK, seq: isn + 500_000, ack: far + 1, data: 10}, {out: true, flags: nat.ACK, seq: isn + 1, ack: far + 1, data: 10}, i(nat.ACK, far+1, isn+500_000)}},
	{"SYN again when established", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), o(nat.SYN, isn+900_000, 0), i(nat.ACK, far+1, isn+1), o(nat.RST, isn+1, 0), i(nat.SYN, far, 0)}},
	{"split handshake", []step{o(nat.SYN, isn, 0), i(nat.SYN, far, 0), o(synack, isn, far+1), i(nat.ACK, far+1, isn+1)}},
}

// emulated carries a packet through the emulator.
func emulated(b *nat.Box, out bool, p []byte, now time.Time) (lines []string) {
	emissions := b.Inbound
	if out {
		emissions = b.Outbound
	}
	var inside []string
	for _, e := range emissions(p, now) {
		if e.Inside {
			inside = append(inside, "inside "+packetLine(e.Packet))
		} else {
			lines = append(lines, "outside "+packetLine(e.Packet))
		}
	}
	return append(lines, inside...)
}

// onOneProcessor keeps this goroutine's thread, and with it the kernel's work
// on what it sends, on one processor. The thread ends with the test.
func onOneProcessor(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	var all, first unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &all))
	for cpu := range 1024 {
		if all.IsSet(cpu) {
			first.Set(cpu)
			break
		}
	}
	must(t, unix.SchedSetaffinity(0, &first))
	t.Cleanup(func() {
		unix.SchedSetaffinity(0, &all)
		runtime.UnlockOSThread()
	})
}

// play runs a script through both, and reports every disagreement.
func (k *kernelNAT) play(t *testing.T, b *nat.Box, steps []step, port uint16, now *time.Time) {
	t.Helper()
	for n, s := range steps {
		if s.pause > 0 {
			<-time.After(s.pause) // the kernel's timers have no other clock
			*now = now.Add(s.pause)
			continue
		}
		from := k.outside
		if s.out {
			from = k.inside
		}
		want := k.carry(from, s.bytes(port))
		got := emulated(b, s.out, s.bytes(port), *now)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("step %d, %v:\nemulated  %q\nnetfilter %q", n, s, got, want)
		}
	}
}

// The kernel of a box that accepts a SYN itself answers it with a RST, and that
// ends its entry in the connection table at once: for the two ends it is as if
// a rule had answered.
func TestEmulatorAgreesWithNetfilter(t *testing.T) {
	for kernels, emulators := range map[string]string{"drop": "drop", "rst": "rst", "poison": "rst"} {
		t.Run(kernels, func(t *testing.T) {
			onOneProcessor(t)
			rules, err := newBox("engine=netfilter,unsolicited=" + kernels)
			must(t, err)
			k := newKernelNAT(t, rules)
			c := nat.Netfilter(diffExternal)
			must(t, c.Set("unsolicited", emulators))
			b, err := nat.NewBox(c)
			must(t, err)
			now := time.Now()
			for n, s := range scripts {
				t.Run(s.name, func(t *testing.T) { k.play(t, b, s.steps, uint16(10000+n), &now) })
			}
		})
	}
}

// The kernel's timers have no clock but the real one, so this test waits.
func TestEmulatorForgetsWhenNetfilterDoes(t *testing.T) {
	onOneProcessor(t)
	rules, err := newBox("engine=netfilter,timeout-syn=1s")
	must(t, err)
	k := newKernelNAT(t, rules)
	c := nat.Netfilter(diffExternal)
	c.Transitory, c.SYNReceived = time.Second, time.Second
	b, err := nat.NewBox(c)
	must(t, err)
	wait, now := step{pause: 700 * time.Millisecond}, time.Now()
	for n, s := range []script{
		{"in time", []step{o(nat.SYN, isn, 0), wait, i(synack, far, isn+1)}},
		{"too late", []step{o(nat.SYN, isn, 0), wait, wait, i(synack, far, isn+1)}},
		{"a repeated SYN renews nothing", []step{o(nat.SYN, isn, 0), wait, o(nat.SYN, isn, 0), wait, i(synack, far, isn+1)}},
		{"the peer's SYN does", []step{o(nat.SYN, isn, 0), wait, i(nat.SYN, far, 0), wait, i(synack, far, isn+1)}},
		{"SYN_RECV too late", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), wait, wait, o(nat.ACK, isn+1, far+1), i(nat.ACK, far+1, isn+1)}},
		{"established stays", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), wait, wait, i(nat.ACK, far+1, isn+1)}},
	} {
		t.Run(s.name, func(t *testing.T) { k.play(t, b, s.steps, uint16(10000+n), &now) })
	}
}

// TestEmulatorAgreesWithNetfilterOnRandomExchanges looks for disagreements that
// nobody has thought of, in as many exchanges as LABTEST_EXCHANGES says.
func TestEmulatorAgreesWithNetfilterOnRandomExchanges(t *testing.T) {
	count, err := strconv.Atoi(os.Getenv("LABTEST_EXCHANGES"))
	if err != nil {
		t.Skip("LABTEST_EXCHANGES is not set to a number of exchanges")
	}
	onOneProcessor(t)
	rules, err := newBox("engine=netfilter")
	must(t, err)
	k := newKernelNAT(t, rules)
	b, err := nat.NewBox(nat.Netfilter(diffExternal))
	must(t, err)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	now, differ := time.Now(), 0
	for n := range min(count, 50000) {
		steps := randomExchange(r)
		if !t.Run(fmt.Sprint(n), func(t *testing.T) { k.play(t, b, steps, uint16(10000+n), &now) }) {
			differ++
			t.Logf("the exchange was %v", steps)
		}
	}
	t.Logf("%d of %d exchanges differ", differ, count)
}

// randomExchange is of segments that are about right.
func randomExchange(r *rand.Rand) (steps []step) {
	flags := []nat.Flags{nat.SYN, nat.SYN, nat.SYN, synack, synack, nat.ACK, nat.ACK, nat.RST, rstack, nat.FIN | nat.ACK}
	offsets := []uint32{0, 0, 0, 0, 1, 1, 1, 2, 11, 500}
	steps = []step{o(nat.SYN, isn, 0)}
	for range 3 + r.IntN(8) {
		s := step{out: r.IntN(2) == 0, flags: flags[r.IntN(len(flags))]}
		s.seq, s.ack = far, isn
		if s.out {
			s.seq, s.ack = isn, far
		}
		if !s.flags.Has(nat.SYN) {
			s.seq++
		}
		s.seq += offsets[r.IntN(len(offsets))]
		s.ack += 1 + offsets[r.IntN(len(offsets))]
		if !s.flags.Has(nat.ACK) {
			s.ack = 0
		}
		if s.flags == nat.ACK && r.IntN(2) == 0 {
			s.data = 10
		}
		steps = append(steps, s)
	}
	return steps
}
