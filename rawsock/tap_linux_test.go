package rawsock

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// sender is a UDP socket in a namespace, for packets that get no answer.
func sender(t testing.TB, n *netlab.Namespace, remote netip.AddrPort) net.Conn {
	t.Helper()
	c := in(t, n, func() (net.Conn, error) { return net.Dial("udp", remote.String()) })
	t.Cleanup(func() { c.Close() })
	return c
}

// sink takes packets, so that no ICMP error answers them.
func sink(t testing.TB, n *netlab.Namespace, local netip.AddrPort) {
	t.Helper()
	c := in(t, n, func() (net.PacketConn, error) { return net.ListenPacket("udp", local.String()) })
	t.Cleanup(func() { c.Close() })
}

// numbers sends count packets that carry their number from 0.
func numbers(t testing.TB, c net.Conn, count int) {
	t.Helper()
	payload := make([]byte, 8)
	for i := range count {
		binary.BigEndian.PutUint64(payload, uint64(i))
		if _, err := c.Write(payload); err != nil {
			t.Fatal(err)
		}
	}
}

// udpOnly keeps the neighbour discovery of a link that has just come up out of
// the counts: of Ethernet and IPv4, protocol 17.
func udpOnly(t testing.TB) []bpf.RawInstruction {
	t.Helper()
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x0800, SkipFalse: 3},
		bpf.LoadAbsolute{Off: 23, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipFalse: 1},
		bpf.RetConstant{Val: 256},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTapSeesABurstWholeAndInOrder(t *testing.T) {
	const count = 20000
	nsA, nsB, _, addrB := netlabtest.Pair(t)
	to := netip.AddrPortFrom(addrB, 7000)
	lo := netip.MustParseAddrPort("127.0.0.1:7000")
	sink(t, nsB, to)
	sink(t, nsA, lo)
	for _, test := range []struct {
		name, link string
		tapped     *netlab.Namespace
		remote     netip.AddrPort
		direction  Direction
	}{
		{"leaving", netlabtest.Link, nsA, to, Outgoing},
		{"arriving", netlabtest.Link, nsB, to, Incoming},
		{"loopback", "lo", nsA, lo, Incoming},
	} {
		t.Run(test.name, func(t *testing.T) {
			tap := tapIn(t, test.tapped, TapConfig{Interface: test.link, Filter: udpOnly(t)})
			c := sender(t, nsA, test.remote)
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				numbers(t, c, count)
				tap.Stop()
			}()
			checkNumbers(t, tap, count, test.direction)
			<-sent
			if packets, drops := tap.Stats(); packets != count || drops != 0 {
				t.Errorf("counted %d packets and %d drops, want %d and 0", packets, drops, count)
			}
		})
	}
}

// checkNumbers reads a tap to its end: the numbers from 0 in their order, with
// stamps that never run back.
func checkNumbers(t *testing.T, tap *Tap, count int, direction Direction) {
	t.Helper()
	begin, last := time.Now().Add(-time.Minute), time.Time{}
	for i := range count {
		f, err := tap.Next()
		if err != nil {
			t.Fatalf("packet %d of %d: %v", i, count, err)
		}
		if got := binary.BigEndian.Uint64(f.Data[14+20+8:]); got != uint64(i) {
			t.Fatalf("packet %d carries %d", i, got)
		}
		if f.Direction != direction || f.Length != 14+20+8+8 || len(f.Data) != f.Length {
			t.Fatalf("packet %d: got %v, %d of %d bytes, want %v and all 50", i, f.Direction, len(f.Data), f.Length, direction)
		}
		if f.Time.Before(last) || f.Time.Before(begin) {
			t.Fatalf("packet %d: stamp %v after %v", i, f.Time, last)
		}
		last = f.Time
	}
	if _, err := tap.Next(); err != io.EOF {
		t.Fatalf("after the last packet: got %v, want %v", err, io.EOF)
	}
}

func TestStopLosesNoTail(t *testing.T) {
	nsA, nsB, _, addrB := netlabtest.Pair(t)
	to := netip.AddrPortFrom(addrB, 7000)
	sink(t, nsB, to)
	c := sender(t, nsA, to)
	numbers(t, c, 1) // the neighbour is known from here on
	for count := range 20 {
		tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Filter: udpOnly(t)})
		numbers(t, c, count)
		tap.Stop()
		numbers(t, c, 5) // too late
		checkNumbers(t, tap, count, Outgoing)
		if err := tap.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDropsAreCountedWhereTheRingIsTiny(t *testing.T) {
	const count = 1000
	nsA, nsB, _, addrB := netlabtest.Pair(t)
	to := netip.AddrPortFrom(addrB, 7000)
	sink(t, nsB, to)
	c := sender(t, nsA, to)
	tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Filter: udpOnly(t), BlockSize: 4096, Blocks: 2})
	numbers(t, c, count)
	tap.Stop()
	read := uint64(0)
	for _, err := tap.Next(); err == nil; _, err = tap.Next() {
		read++
	}
	packets, drops := tap.Stats()
	if packets != read || read == 0 || packets+drops != count {
		t.Errorf("read %d, counted %d packets and %d drops of %d", read, packets, drops, count)
	}
	tap.Close()
	if p, d := tap.Stats(); p != packets || d != drops {
		t.Errorf("after Close: counted %d packets and %d drops, want %d and %d", p, d, packets, drops)
	}
}

func TestTapSeesOnlyTheFlow(t *testing.T) {
	nsA, nsB, addrA, addrB := netlabtest.Pair(t)
	tap := tapIn(t, nsB, TapConfig{Interface: netlabtest.Link, Host: addrA, Ports: []uint16{7001}})
	numbers(t, sender(t, nsA, netip.AddrPortFrom(addrB, 7001)), 1) // answered by an ICMP error
	for _, from := range []netip.AddrPort{netip.AddrPortFrom(netlabtest.A6, 7001), netip.AddrPortFrom(addrA, 7002), netip.AddrPortFrom(addrA, 7001)} {
		s := openIn(t, nsA, from, Options{})
		to := addrB
		if from.Addr().Is6() {
			to = netlabtest.B6
		}
		mustConnect(t, s, netip.AddrPortFrom(to, 7000))
		if err := s.Wait(soon(t)); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
	tap.Stop()
	var got []string
	for f, err := tap.Next(); err == nil; f, err = tap.Next() {
		if s, ok := parseSegment(f); ok {
			got = append(got, s.source.String())
		} else if f.Data[14+9] == unix.IPPROTO_ICMP {
			got = append(got, "icmp")
		} else {
			t.Errorf("got packet %x", f.Data)
		}
	}
	want := "icmp 198.51.100.1:7001 198.51.100.2:7000"
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", strings.Join(got, " "), want)
	}
}

func TestTapOnAnyHasACookedHeader(t *testing.T) {
	nsA, nsB, _, addrB := netlabtest.Pair(t)
	to := netip.AddrPortFrom(addrB, 7000)
	sink(t, nsB, to)
	c := sender(t, nsA, to)
	tap := tapIn(t, nsA, TapConfig{Interface: AnyInterface, SnapLen: 24})
	if got := tap.LinkType(); got != LinkTypeLinuxSLL2 {
		t.Errorf("got link type %d, want %d", got, LinkTypeLinuxSLL2)
	}
	numbers(t, c, 1)
	tap.Stop()
	index := in(t, nsA, func() (*net.Interface, error) { return net.InterfaceByName(netlabtest.Link) }).Index
	for {
		data, info, err := tap.ReadPacketData()
		if err != nil {
			t.Fatalf("wait for the UDP packet: %v", err)
		}
		if binary.BigEndian.Uint16(data) != unix.ETH_P_IP {
			continue
		}
		if len(data) != 44 || tap.SnapLen() != 44 || info.CaptureLength != 44 || info.Length != 20+36 {
			t.Errorf("got %d bytes, SnapLen %d, %+v, want 44 of 56", len(data), tap.SnapLen(), info)
		}
		if got := int(binary.BigEndian.Uint32(data[4:])); got != index || info.InterfaceIndex != index {
			t.Errorf("got interface %d, %d, want %d", got, info.InterfaceIndex, index)
		}
		if binary.BigEndian.Uint16(data[8:]) != unix.ARPHRD_ETHER || data[10] != unix.PACKET_OUTGOING || data[11] != 6 || data[20] != 0x45 {
			t.Errorf("got header %x", data[:21])
		}
		if len(info.AncillaryData) != 1 || info.AncillaryData[0] != Outgoing {
			t.Errorf("got ancillary data %v, want %v", info.AncillaryData, Outgoing)
		}
		return
	}
}

func TestTapOnATunnelStartsWithTheIPHeader(t *testing.T) {
	n := netlabtest.Namespace(t, "tunnel")
	device := -1
	err := n.Do(func() (err error) {
		device, err = openTunnel("tun0")
		return err
	})
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("a TUN device cannot be made here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(device)
	if err := n.AddAddress("tun0", netip.MustParsePrefix("192.0.2.1/24")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []TapConfig{{Interface: "tun0"}, {Interface: "tun0", Ports: []uint16{7000}}} {
		tap := tapIn(t, n, c)
		if got := tap.LinkType(); got != LinkTypeRaw {
			t.Errorf("got link type %d, want %d", got, LinkTypeRaw)
		}
		s := openIn(t, n, netip.MustParseAddrPort("192.0.2.1:0"), Options{})
		mustConnect(t, s, netip.MustParseAddrPort("192.0.2.2:7000"))
		tap.Stop()
		f, err := tap.Next()
		for err == nil && f.Data[0] != 0x45 { // IPv6 of the device coming up
			f, err = tap.Next()
		}
		if err != nil || f.Data[9] != unix.IPPROTO_TCP || f.Direction != Outgoing {
			t.Errorf("port %v: got %x, %v, %v, want the SYN", c.Ports, f.Data, f.Direction, err)
		}
		s.Close()
	}
}

// openTunnel makes a TUN device, which is in the namespace of the thread that
// opens it, and sets it up.
func openTunnel(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("open /dev/net/tun", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = setUp(name)
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

func setUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

func TestMissingPrivilegeSaysWhatMendsIt(t *testing.T) {
	n := netlabtest.Namespace(t, "n")
	err := withoutCapabilities(n, func() error {
		_, err := OpenTap(TapConfig{Interface: "lo"})
		return err
	})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_RAW") || !strings.Contains(err.Error(), "setcap cap_net_raw+ep /") {
		t.Errorf("got %v, want %v with CAP_NET_RAW and the command", err, os.ErrPermission)
	}
}

func TestUnknownInterfaceNamesTheOnesThereAre(t *testing.T) {
	n, _, _, _ := netlabtest.Pair(t)
	err := n.Do(func() error {
		_, err := OpenTap(TapConfig{Interface: "wlan7"})
		return err
	})
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "there are any, eth0, lo") {
		t.Errorf("got %v, want %v with any, eth0, lo", err, ErrNoInterface)
	}
}

func TestCloseEndsNext(t *testing.T) {
	n := netlabtest.Namespace(t, "n")
	tap := tapIn(t, n, TapConfig{Interface: "lo"})
	ended := make(chan error)
	go func() {
		_, err := tap.Next()
		ended <- err
	}()
	if err := tap.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v, want %v", err, os.ErrClosed)
	}
}

func BenchmarkTapPerPacket(b *testing.B) {
	nsA, nsB, _, addrB := netlabtest.Pair(b)
	to := netip.AddrPortFrom(addrB, 7000)
	sink(b, nsB, to)
	c := sender(b, nsA, to)
	const count = 10000
	for b.Loop() {
		b.StopTimer()
		tap := tapIn(b, nsA, TapConfig{Interface: netlabtest.Link, Filter: udpOnly(b)})
		numbers(b, c, count)
		tap.Stop()
		for range count {
			if tap.Buffered() > 0 { // what waits for the last block is not counted
				b.StartTimer()
			}
			if _, err := tap.Next(); err != nil {
				b.Fatal(err)
			}
			if tap.Buffered() == 0 {
				b.StopTimer()
			}
		}
		tap.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/count, "ns/packet")
	b.ReportMetric(0, "ns/op")
}
