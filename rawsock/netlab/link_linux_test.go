package netlab_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"

	"golang.org/x/sys/unix"
)

// arrival is a numbered datagram, with the kernel's stamp of its arrival.
type arrival struct {
	number uint32
	sent   time.Time
	at     time.Time
}

// receiver collects numbered datagrams at the discard port.
func receiver(t testing.TB, n *netlab.Namespace) (fd int) {
	t.Helper()
	err := n.Do(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 9})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// number sends numbered datagrams of a size, IP and UDP headers included.
func number(t testing.TB, n *netlab.Namespace, to netip.Addr, packets, size int) {
	t.Helper()
	s := &errorSocket{}
	if err := n.Do(func() error { return s.open(64) }); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s.fd)
	if err := unix.Connect(s.fd, &unix.SockaddrInet4{Port: 9, Addr: to.As4()}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size-28)
	for i := range packets {
		binary.BigEndian.PutUint32(b, uint32(i))
		binary.BigEndian.PutUint64(b[4:], uint64(time.Now().UnixNano()))
		if _, err := unix.Write(s.fd, b); err != nil {
			t.Fatal(err)
		}
	}
}

// collect returns the next datagrams, as many as are wanted.
func collect(t testing.TB, fd, packets int) (all []arrival) {
	t.Helper()
	b, control := make([]byte, 2048), make([]byte, 256)
	eventually(t, func() bool {
		for len(all) < packets {
			_, n, _, _, err := unix.Recvmsg(fd, b, control, 0)
			if err != nil {
				return false
			}
			all = append(all, arrival{
				number: binary.BigEndian.Uint32(b),
				sent:   time.Unix(0, int64(binary.BigEndian.Uint64(b[4:]))),
				at:     stamp(t, control[:n]),
			})
		}
		return true
	})
	return all
}

func stamp(t testing.TB, control []byte) time.Time {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(messages) == 0 {
		t.Fatalf("no time stamp: %v", err)
	}
	d := messages[0].Data
	if len(d) == 8 { // struct __kernel_old_timespec of a 32-bit machine
		return time.Unix(int64(binary.NativeEndian.Uint32(d)), int64(binary.NativeEndian.Uint32(d[4:])))
	}
	return time.Unix(int64(binary.NativeEndian.Uint64(d)), int64(binary.NativeEndian.Uint64(d[8:])))
}

// lineTo is two hosts of which only the first has a link with properties.
func lineTo(t *testing.T, k netlab.DeviceKind, up netlab.Link, down *netlab.Link) *network {
	t.Helper()
	n := &network{a: netlabtest.Namespace(t, "a"), b: netlabtest.Namespace(t, "b")}
	n.core = newCore(t, netlab.CoreConfig{Seed: 1})
	attach(t, n.core, netlab.PortConfig{Namespace: n.a, Name: "a0", Addresses: []netip.Prefix{a4}, Link: up, Down: down, Device: k})
	attach(t, n.core, netlab.PortConfig{Namespace: n.b, Name: "b0", Addresses: []netip.Prefix{b4}, Device: k})
	if err := n.core.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEachDirectionHasItsOwnDelay(t *testing.T) {
	const up, down = 5 * time.Millisecond, 45 * time.Millisecond
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		n := lineTo(t, k, netlab.Link{Delay: up}, &netlab.Link{Delay: down})
		there := fastest(t, n.a, n.b, b4.Addr())
		back := fastest(t, n.b, n.a, a4.Addr())
		if there < up || back < down {
			t.Errorf("one way: got %v there and %v back, want at least %v and %v", there, back, up, down)
		}
		if got := back - there; got < (down-up)/2 || got > 2*(down-up) {
			t.Errorf("back takes %v longer, want about %v", got, down-up)
		}
	})
}

// fastest is the least time of ten datagrams from one host to another.
func fastest(t *testing.T, from, to *netlab.Namespace, address netip.Addr) time.Duration {
	t.Helper()
	fd := receiver(t, to)
	best := time.Hour
	for range 10 {
		number(t, from, address, 1, 100)
		p := collect(t, fd, 1)[0]
		best = min(best, p.at.Sub(p.sent))
	}
	return best
}

func TestHalfTheRateTakesTwiceAsLong(t *testing.T) {
	const packets, size = 20, 1000
	span := func(t *testing.T, k netlab.DeviceKind, up netlab.Link, down *netlab.Link, reverse bool) time.Duration {
		n := lineTo(t, k, up, down)
		from, to, address := n.a, n.b, b4.Addr()
		if reverse {
			from, to, address = n.b, n.a, a4.Addr()
		}
		fd := receiver(t, to)
		number(t, from, address, packets, size)
		all := collect(t, fd, packets)
		return all[packets-1].at.Sub(all[0].at)
	}
	fast, slow := netlab.Link{Rate: 4e6, Queue: 1e6}, netlab.Link{Rate: 1e6, Queue: 1e6}
	bothKinds(t, func(t *testing.T, k netlab.DeviceKind) {
		for _, reverse := range []bool{false, true} {
			quick := span(t, k, fast, &fast, reverse)
			long := span(t, k, slow, &slow, reverse)
			if got := float64(long) / float64(quick); got < 2.5 || got > 6 {
				t.Errorf("reverse %v: a quarter of the rate takes %.1f times as long (%v to %v), want about 4", reverse, got, long, quick)
			}
		}
		n := lineTo(t, k, slow, &netlab.Link{})
		fd := receiver(t, n.a)
		number(t, n.b, a4.Addr(), packets, size)
		if all := collect(t, fd, packets); all[packets-1].at.Sub(all[0].at) > packets*size*8*time.Second/1e6/2 {
			t.Error("the rate of one direction slows the other")
		}
	})
}

func TestWhatTheQueueHasNoRoomForIsDropped(t *testing.T) {
	const packets, size, queued = 60, 1000, 10
	for name, reverse := range map[string]bool{"up": false, "down": true} {
		t.Run(name, func(t *testing.T) {
			n := lineTo(t, netlab.Auto, netlab.Link{Rate: 1e6, Queue: queued * size}, nil)
			from, to, address := n.a, n.b, b4.Addr()
			if reverse {
				from, to, address = n.b, n.a, a4.Addr()
			}
			fd := receiver(t, to)
			number(t, from, address, packets, size)
			eventually(t, func() bool {
				l := n.core.Lateness()
				return l.Delivered+l.Dropped.QueueFull == packets
			})
			l := n.core.Lateness()
			if l.Dropped.QueueFull == 0 || l.Delivered < queued {
				t.Errorf("got %d through and %d dropped, want at least %d and some", l.Delivered, l.Dropped.QueueFull, queued)
			}
			all := collect(t, fd, int(l.Delivered))
			for i, p := range all[:queued] {
				if p.number != uint32(i) {
					t.Errorf("packet %d is number %d, want the first to be kept", i, p.number)
				}
			}
		})
	}
}

func TestReorderingIsSeenByTheReceiver(t *testing.T) {
	const packets = 200
	for name, share := range map[string]float64{"never": 0, "now and then": 0.2} {
		t.Run(name, func(t *testing.T) {
			n := lineTo(t, netlab.Auto, netlab.Link{Delay: 5 * time.Millisecond, Reorder: share, ReorderGap: 20 * time.Millisecond}, nil)
			fd := receiver(t, n.b)
			number(t, n.a, b4.Addr(), packets, 100)
			all := collect(t, fd, packets)
			kept := slices.IsSortedFunc(all, func(p, q arrival) int { return int(p.number) - int(q.number) })
			if kept != (share == 0) {
				t.Errorf("order kept: got %v", kept)
			}
			slices.SortFunc(all, func(p, q arrival) int { return int(p.number) - int(q.number) })
			for i, p := range all {
				if p.number != uint32(i) {
					t.Fatalf("packet %d is missing or came twice", i)
				}
			}
		})
	}
}

func TestRoutersLimitTheirErrors(t *testing.T) {
	const packets = 200
	for name, rate := range map[string]int{"limited": 20, "unlimited": -1} {
		t.Run(name, func(t *testing.T) {
			n := newNetworkWith(t, netlab.Auto, netlab.Link{}, netlab.CoreConfig{ErrorRate: rate}, false)
			to := netip.AddrPortFrom(b4.Addr(), 9)
			s := send(t, n.a, to, 1)
			for range packets - 1 {
				s.resend(t, to)
			}
			eventually(t, func() bool { return n.core.Lateness().Dropped.TTLExceeded == packets })
			l := n.core.Lateness()
			if l.Delivered+l.Dropped.Silenced != packets {
				eventually(t, func() bool { l = n.core.Lateness(); return l.Delivered+l.Dropped.Silenced == packets })
			}
			if limited := l.Dropped.Silenced > packets/2; l.Delivered == 0 || limited != (rate > 0) {
				t.Errorf("got %d errors and %d kept back", l.Delivered, l.Dropped.Silenced)
			}
			if e := s.receive(t); e.kind != 11 {
				t.Errorf("got ICMP %d/%d, want time exceeded", e.kind, e.code)
			}
		})
	}
}

// resend sends again; an error that waits for the socket's next call
// (ip(7), IP_RECVERR) is in its queue as well.
func (s *errorSocket) resend(t testing.TB, to netip.AddrPort) {
	t.Helper()
	for range 100 {
		if s.send(to) == nil {
			return
		}
	}
	t.Fatal("every attempt to send was answered by an error")
}

func TestAMarkSeparatesWhatCameAfterIt(t *testing.T) {
	n := lineTo(t, netlab.Auto, netlab.Link{}, nil)
	fd := receiver(t, n.b)
	number(t, n.a, b4.Addr(), 10, 100)
	collect(t, fd, 10)
	eventually(t, func() bool { return n.core.Lateness().Delivered == 10 })
	mark := n.core.Mark()
	number(t, n.a, b4.Addr(), 5, 100)
	collect(t, fd, 5)
	eventually(t, func() bool { return n.core.Lateness().Delivered == 15 })
	for _, x := range []struct {
		got  netlab.Lateness
		want uint64
	}{
		{n.core.LatenessSince(mark), 5},
		{n.core.LatenessSince(mark, "b0"), 5},
		{n.core.LatenessSince(mark, "a0"), 0},
		{n.core.LatenessSince(netlab.Mark{}, "a0", "b0"), 15},
	} {
		if x.got.Delivered != x.want {
			t.Errorf("got %d delivered, want %d", x.got.Delivered, x.want)
		}
	}
	if since, all := n.core.LatenessSince(mark), n.core.Lateness(); since.Max > all.Max || since.Max < since.P50 || since.Max == 0 {
		t.Errorf("since the mark: got %+v, in all %+v", since, all)
	}
}
