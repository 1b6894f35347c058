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
	wait := step{pause: 700 * time.Millisecond}
	for _, s := range []script{
		{"in time", []step{o(nat.SYN, isn, 0), wait, i(synack, far, isn+1)}},
		{"too late", []step{o(nat.SYN, isn, 0), wait, wait, i(synack, far, isn+1)}},
		{"a repeated SYN renews nothing", []step{o(nat.SYN, isn, 0), wait, o(nat.SYN, isn, 0), wait, i(synack, far, isn+1)}},
		{"the peer's SYN does", []step{o(nat.SYN, isn, 0), wait, i(nat.SYN, far, 0), wait, i(synack, far, isn+1)}},
		{"SYN_RECV too late", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), wait, wait, o(nat.ACK, isn+1, far+1), i(nat.ACK, far+1, isn+1)}},
		{"established stays", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), wait, wait, i(nat.ACK, far+1, isn+1)}},
	} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			onOneProcessor(t)
			rules, err := newBox("engine=netfilter,timeout-syn=1s")
			must(t, err)
			k := newKernelNAT(t, rules)
			c := nat.Netfilter(diffExternal)
			c.Transitory, c.SYNReceived = time.Second, time.Second
			b, err := nat.NewBox(c)
			must(t, err)
			now := time.Now()
			k.play(t, b, s.steps, 10000, &now)
		})
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
