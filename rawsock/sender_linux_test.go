package rawsock

import (
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

func senderIn(t testing.TB, n *netlab.Namespace, local netip.Addr, o Options) *Sender {
	t.Helper()
	s := in(t, n, func() (*Sender, error) { return OpenSender(local, o) })
	t.Cleanup(func() { s.Close() })
	return s
}

func guardIn(t testing.TB, n *netlab.Namespace, local netip.AddrPort) *Guard {
	t.Helper()
	g := in(t, n, func() (*Guard, error) { return OpenGuard(local) })
	t.Cleanup(func() { g.Close() })
	return g
}

// families are the two address pairs of netlabtest.Pair.
var families = []struct{ a, b netip.Addr }{{netlabtest.A4, netlabtest.B4}, {netlabtest.A6, netlabtest.B6}}

func TestKernelAnswersCraftedSegments(t *testing.T) {
	nsA, nsB, _, _ := netlabtest.Pair(t)
	for _, f := range families {
		a, open, shut := netip.AddrPortFrom(f.a, 7001), netip.AddrPortFrom(f.b, 7002), netip.AddrPortFrom(f.b, 7003)
		listenIn(t, nsB, open)
		tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7001}})
		sender := senderIn(t, nsA, f.a, Options{})
		for _, c := range []struct {
			sent Segment
			want Flags
		}{
			{Segment{To: open, Flags: SYN, Seq: 1000, Window: 64240, Options: TCPOptions(nil).MSS(1460)}, SYN | ACK},
			{Segment{To: shut, Flags: SYN, Seq: 1<<32 - 1}, RST | ACK},
			{Segment{To: shut, Flags: ACK, Seq: 5, Ack: 77}, RST},
			{Segment{To: shut, Flags: SYN | ACK, Seq: 5, Ack: 78}, RST},
			{Segment{To: shut, Flags: FIN, Seq: 9, Payload: []byte("abc")}, RST | ACK},
		} {
			c.sent.From = a
			if n, err := sender.Send(c.sent); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			got := awaitReply(t, tap, c.sent)
			if got.Segment.Flags != c.want || got.Fits(c.sent) != FitExact {
				t.Errorf("%s to %v: got %s of fit %v (%+v), want %v, exact", c.sent.Kind(), c.sent.To, got.Kind(), got.Fits(c.sent), got.Segment, c.want)
			}
		}
	}
}

// awaitReply reads an Ethernet tap until a packet fits the segment.
func awaitReply(t testing.TB, tap *Tap, sent Segment) Reply {
	t.Helper()
	var reply Reply
	awaitFrame(t, tap, "an answer to "+sent.Kind(), func(f Frame) bool {
		r, err := ParseReply(f.Data[14:])
		reply = r
		return err == nil && f.Direction == Incoming && r.Fits(sent) != FitNone
	})
	return reply
}

func TestRoutersComplainOfCraftedSegments(t *testing.T) {
	for _, c := range []struct {
		to        string
		ttl       uint8
		icmpTypes [2]uint8 // and code
	}{
		{"192.0.2.1:7000", 2, [2]uint8{11, 0}},
		{"198.51.100.9:7000", 64, [2]uint8{3, 0}},
		{"[2001:db8:b::1]:7000", 2, [2]uint8{3, 0}},
		{"[2001:db8:c::9]:7000", 64, [2]uint8{1, 0}},
	} {
		to := netip.MustParseAddrPort(c.to)
		nsA, _, addrA, _ := distance(t, time.Millisecond, to.Addr())
		tap := tapIn(t, nsA, TapConfig{Interface: "eth0", Ports: []uint16{7001}})
		sent := Segment{From: netip.AddrPortFrom(addrA, 7001), To: to, Flags: SYN, Seq: 12345, TTL: c.ttl}
		if _, err := senderIn(t, nsA, addrA, Options{}).Send(sent); err != nil {
			t.Fatal(err)
		}
		got := awaitReply(t, tap, sent)
		if got.ICMP == nil || got.ICMP.Type != c.icmpTypes[0] || got.ICMP.Code != c.icmpTypes[1] || got.Fits(sent) != FitExact {
			t.Errorf("to %v with TTL %d: got %+v of fit %v, want type and code %v, exact", to, c.ttl, got.ICMP, got.Fits(sent), c.icmpTypes)
		}
	}
}

func TestGuardKeepsTheKernelFromResetting(t *testing.T) {
	nsA, nsB, _, _ := netlabtest.Pair(t)
	for _, f := range families {
		for _, ttl := range []uint8{64, 255} { // 255 is a neighbour that launched with the highest TTL
			a, b := netip.AddrPortFrom(f.a, 7001), netip.AddrPortFrom(f.b, 7002)
			guard := guardIn(t, nsA, a)
			tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7001}})
			peer := senderIn(t, nsB, f.b, Options{})
			synAck := Segment{From: b, To: a, Flags: SYN | ACK, Seq: 1, Ack: 2, TTL: ttl}
			mustSend(t, peer, synAck, Segment{From: b, To: a, Flags: SYN, Seq: 1, TTL: ttl})
			guard.Close()
			synAck.Seq, synAck.Ack = 5, 6
			mustSend(t, peer, synAck) // the first that the kernel answers
			var reset Reply
			awaitFrame(t, tap, "a reset", func(f Frame) bool {
				r, err := ParseReply(f.Data[14:])
				reset = r
				return err == nil && f.Direction == Outgoing
			})
			if reset.Segment.Flags != RST || reset.Segment.Seq != 6 {
				t.Errorf("%v, TTL %d: the kernel first answered with %+v, want the reset of the segment after the guard", f.a, ttl, reset.Segment)
			}
			tap.Close()
			peer.Close()
		}
	}
}

func mustSend(t testing.TB, s *Sender, list ...Segment) {
	t.Helper()
	if n, err := s.Send(list...); n != len(list) || err != nil {
		t.Fatalf("sent %d of %d segments: %v", n, len(list), err)
	}
}

func TestGuardLeavesConnectionsOfItsEndpointAlone(t *testing.T) {
	nsA, nsB, addrA, addrB := netlabtest.Pair(t)
	guard := guardIn(t, nsA, netip.AddrPortFrom(addrA, 0))
	remote := netip.AddrPortFrom(addrB, 7002)
	listenIn(t, nsB, remote)
	s := openIn(t, nsA, guard.Local(), Options{})
	mustConnect(t, s, remote)
	if err := s.Wait(soon(t)); err != nil {
		t.Errorf("got %v, want a connection from the guarded port", err)
	}
}

func TestCraftingWithoutPrivilegeNamesTheCapability(t *testing.T) {
	netlabtest.Require(t)
	err := withoutCapabilities(mustCurrent(t), func() error {
		_, err := OpenSender(netip.MustParseAddr("127.0.0.1"), Options{})
		return err
	})
	missing, ok := errors.AsType[*PrivilegeError](err)
	if !ok || missing.Capability != "CAP_NET_RAW" || !errors.Is(err, os.ErrPermission) {
		t.Errorf("got %v, want a PrivilegeError about CAP_NET_RAW", err)
	}
}

func TestSenderLeavesFromThisHostsAddressesOnly(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	b4 := addrA.As4()
	b4[3] = 255
	for _, foreign := range []netip.Addr{addrB, netip.AddrFrom4(b4), netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("224.0.0.5"),
		netip.MustParseAddr("ff02::5"), netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		if _, err := in2(t, nsA, func() (*Sender, error) { return OpenSender(foreign, Options{}) }); !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Errorf("from %v: got %v, want %v", foreign, err, unix.EADDRNOTAVAIL)
		}
	}
	for _, own := range []netip.Addr{addrA, netlabtest.A6, netip.MustParseAddr("127.0.0.9")} {
		for _, device := range []string{"", netlabtest.Link} {
			if device != "" && own.IsLoopback() {
				continue
			}
			senderIn(t, nsA, own, Options{Device: device})
		}
	}
}

func TestSenderTellsWhatItCannotSend(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	s := senderIn(t, nsA, addrA, Options{})
	a, b := netip.AddrPortFrom(addrA, 1), netip.AddrPortFrom(addrB, 2)
	far := netip.MustParseAddrPort("203.0.113.1:7000")
	if n, err := s.Send(Segment{From: a, To: b, Flags: RST}, Segment{From: a, To: far}); n != 1 || !errors.Is(err, ErrUnreachable) {
		t.Errorf("no route: got %d sent, %v, want 1, %v", n, err, ErrUnreachable)
	}
	everyone := netip.MustParseAddrPort("255.255.255.255:7000")
	if n, err := s.Send(Segment{From: a, To: everyone}); n != 0 || !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "broadcast") {
		t.Errorf("a broadcast: got %d sent, %v, want none, and why", n, err)
	}
	if _, err := s.Send(Segment{From: netip.AddrPortFrom(netlabtest.A6, 1), To: netip.AddrPortFrom(netlabtest.B6, 2)}); err == nil {
		t.Error("an IPv4 sender took a segment of IPv6")
	}
	v, err := s.Load([]Segment{{From: a, To: b, Flags: RST}})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	launched, err := Launch(t.Context(), 0, []Shot{{Volley: v}})
	if err != nil || !errors.Is(launched.Shots[0].Err, ErrClosed) {
		t.Errorf("a closed sender: got %v, %+v, want %v", err, launched.Shots, ErrClosed)
	}
}

// in2 is in for what may fail.
func in2[T any](t testing.TB, n *netlab.Namespace, f func() (T, error)) (value T, err error) {
	t.Helper()
	n.Do(func() error {
		value, err = f()
		return nil
	})
	return value, err
}

func TestVolleysAndSocketsLaunchTogether(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	tap := tapIn(t, nsA, TapConfig{Interface: netlabtest.Link, Ports: []uint16{7000}})
	sender := senderIn(t, nsA, addrA, Options{})
	remote := netip.AddrPortFrom(addrB, 7000)
	var list []Segment
	for i := range 3000 { // more than one sendmmsg takes
		list = append(list, Segment{From: netip.AddrPortFrom(addrA, uint16(20000+i)), To: remote, Flags: RST, Seq: uint32(i)})
	}
	v, err := sender.Load(list)
	if err != nil {
		t.Fatal(err)
	}
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 30000), Options{})
	at := ahead(5 * time.Millisecond)
	launched, err := Launch(t.Context(), at, []Shot{{Volley: v}, {Socket: s, Remote: remote, After: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range launched.Shots {
		if f.Err != nil || f.Before+f.Ahead < at || f.After <= f.Before {
			t.Errorf("shot %d: got %+v, want one at %d or later", i, f, at)
		}
	}
	if v.Sent() != len(list) {
		t.Errorf("%d segments left, want %d", v.Sent(), len(list))
	}
	for i := range len(list) {
		if got := await(t, tap, "a crafted segment", func(s segment) bool { return s.flags == rst }); got.source.Port() != uint16(20000+i) {
			t.Fatalf("segment %d: got port %d", i, got.source.Port())
		}
	}
	await(t, tap, "the SYN after them", func(s segment) bool { return s.flags == syn && s.source.Port() == 30000 })
}

func TestGlanceLooksPastVolleys(t *testing.T) {
	nsA, nsB, addrA, addrB := netlabtest.Pair(t)
	remote := netip.AddrPortFrom(addrB, 7000)
	listenIn(t, nsB, remote)
	v, err := senderIn(t, nsA, addrA, Options{}).Load([]Segment{{From: netip.AddrPortFrom(addrA, 20000), To: remote, Flags: RST}})
	if err != nil {
		t.Fatal(err)
	}
	s := openIn(t, nsA, netip.AddrPortFrom(addrA, 30000), Options{})
	pad := NewLaunchpad(LaunchConfig{})
	defer pad.Close()
	glances := map[string]func() int64{"on several processors": pad.Glance, "on one": pad.glanceAsleep}
	for _, shots := range [][]Shot{{{Volley: v}}, {{Volley: v}, {Socket: s, Remote: remote}}} {
		if _, err := pad.Launch(t.Context(), 0, shots); err != nil {
			t.Fatal(err)
		}
		if len(shots) == 2 {
			if err := s.Wait(soon(t)); err != nil {
				t.Fatal(err)
			}
		}
		for name, glance := range glances {
			if seen := glance() != 0; seen != (len(shots) == 2) {
				t.Errorf("%d shots, %s: saw a connection: %v", len(shots), name, seen)
			}
		}
	}
}

func TestVolleyAllocatesNothingAtTheInstant(t *testing.T) {
	nsA, _, addrA, addrB := netlabtest.Pair(t)
	sender := senderIn(t, nsA, addrA, Options{})
	v, err := sender.Load([]Segment{{From: netip.AddrPortFrom(addrA, 1), To: netip.AddrPortFrom(addrB, 2), Flags: RST}})
	if err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(50, func() { v.fire() }); got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
