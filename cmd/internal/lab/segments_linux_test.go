package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// segmentBehaviours are those that show in single segments and in time.
var segmentBehaviours = []struct {
	profile string
	shows   func(*world)
}{
	{"crossing=accept", crosses(func(err error) bool { return err == nil })},
	{"crossing=drop", crosses(isTimeout)},
	{"crossing=rst", crosses(isRefused)},
	{"linux,crossing=accept", crosses(func(err error) bool { return err == nil })},

	{"rst=kill", resetDoes(true, false)},
	{"rst=keep", resetDoes(true, true)},
	{"rst=swallow", resetDoes(false, true)},
	{"rst=drop-next", (*world).dropsNext},

	{"icmp=ignore", survives(true)},
	{"icmp=kill", survives(false)},
	{"linux,icmp=ignore", survives(true)},

	{"seq=none", sequence(true, true)},
	{"seq=window", sequence(true, false)},
	{"seq=rewrite", sequence(false, true)},
	{"linux,seq=window", sequence(true, false)},

	{"timeout-syn=300ms", expires(600*time.Millisecond, true)},
	{"timeout-syn=1m", expires(600*time.Millisecond, false)},
	{"linux,timeout-syn=1s", expires(2500*time.Millisecond, true)},
	{"linux,timeout-syn=1m", expires(600*time.Millisecond, false)},
	{"timeout-established=500ms", idles(time.Second, true)},
	{"timeout-established=1m", idles(time.Second, false)},
	{"linux,timeout-established=1s", idles(2500*time.Millisecond, true)},
	{"linux,timeout-established=1m", idles(2500*time.Millisecond, false)},

	// A's kernel sends with 64; its box and three routers take one each.
	{"ttl=keep", opensWith(func(s syn) bool { return s.ttl == 64-1-3 })},
	{"ttl=rewrite:100", opensWith(func(s syn) bool { return s.ttl == 100-3 })},
	{"linux,ttl=keep", opensWith(func(s syn) bool { return s.ttl == 64-1-3 })},
	{"linux,ttl=rewrite:100", opensWith(func(s syn) bool { return s.ttl == 100-3 })},
	{"options=keep", opensWith(func(s syn) bool {
		return s.has(layers.TCPOptionKindTimestamps) && s.has(layers.TCPOptionKindWindowScale)
	})},
	{"options=strip", opensWith(func(s syn) bool {
		return s.mss == 1460 && !s.has(layers.TCPOptionKindTimestamps) && !s.has(layers.TCPOptionKindWindowScale)
	})},
	{"mss=keep", opensWith(func(s syn) bool { return s.mss == 1460 })},
	{"mss=clamp:700", opensWith(func(s syn) bool { return s.mss == 700 })},
}

// crosses shows what becomes of two SYNs that are under way at once, through
// such a box on either side.
func crosses(right func(error) bool) func(*world) {
	return func(w *world) {
		p := w.profile()
		n := buildOf(w.T, p, p, 40*time.Millisecond)
		results := make(chan error, 2)
		go func() { results <- n.dialWithin(700*time.Millisecond, "a", 6000, publicB+":7000") }()
		go func() { results <- n.dialWithin(700*time.Millisecond, "b", 7000, outsideA+":6000") }()
		for range 2 {
			if err := <-results; !right(err) {
				w.Errorf("a side met %v", err)
			}
		}
	}
}

// resetDoes shows whether a RST that answers A's SYN reaches A, and whether who
// sent it may then use A's mapping.
func resetDoes(passes, stays bool) func(*world) {
	return func(w *world) {
		if _, err := w.n.dial(w, "a", punchPort, server1); isRefused(err) != passes {
			w.Errorf("A met %v, want a refusal %v", err, passes)
		}
		w.n.listenShared(w, "a", punchPort)
		to := netip.AddrPortFrom(netip.MustParseAddr(outsideA), punchPort).String()
		if _, err := w.n.dial(w, "coordinator", 1001, to); (err == nil) != stays {
			w.Errorf("the server met %v, want a connection %v", err, stays)
		}
	}
}

// dropsNext shows that the first SYN after a RST is lost, and the second is not.
func (w *world) dropsNext() {
	l := w.n.listen(w, "coordinator", server1)
	c, err := w.n.dial(w, "a", punchPort, server1)
	if err != nil {
		w.Fatal(err)
	}
	w.abort(w.accept(l), c)
	for i, lost := range []bool{true, false} {
		if _, err := w.n.dial(w, "a", punchPort, server1); (err != nil) != lost {
			w.Errorf("SYN %d after the reset met %v, want it lost %v", i+1, err, lost)
		}
	}
}

// survives shows whether A's mapping outlives an ICMP error about its SYN.
func survives(want bool) func(*world) {
	return func(w *world) {
		fd := w.openByDyingSYN()
		defer unix.Close(fd)
		w.reaches(want)
	}
}

// expires shows whether A's mapping is still there after its SYN has got no
// answer for a while.
func expires(after time.Duration, gone bool) func(*world) {
	return func(w *world) {
		fd := w.openByDyingSYN()
		if gone {
			unix.Close(fd) // or it would repeat its SYN
		} else {
			defer unix.Close(fd)
		}
		<-time.After(after)
		w.reaches(!gone)
	}
}

// openByDyingSYN lets A send a SYN to B that dies on the way, and waits until the
// ICMP error has come. The socket is deaf to that, and then an ordinary one.
func (w *world) openByDyingSYN() (fd int) {
	w.Helper()
	raw := w.n.packetConn(w, "a", "icmp")
	err := w.n.namespaces["a"].Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 3), unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 200),
			unix.Bind(fd, &unix.SockaddrInet4{Port: punchPort}))
		if err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: 7000, Addr: netip.MustParseAddr(publicB).As4()})
		if err == unix.EINPROGRESS {
			return nil
		}
		return err
	})
	raw.SetReadDeadline(time.Now().Add(800 * time.Millisecond))
	_, _, missing := raw.ReadFrom(make([]byte, 100))
	err = errors.Join(err, missing, unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, 64), unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 0))
	if err != nil {
		w.Fatal(err)
	}
	return fd
}

// reaches shows whether B gets to A from where A's SYN was aimed.
func (w *world) reaches(want bool) {
	w.Helper()
	to := netip.AddrPortFrom(netip.MustParseAddr(outsideA), punchPort).String()
	if _, err := w.n.dial(w, "b", 7000, to); (err == nil) != want {
		w.Errorf("B met %v, want a connection %v", err, want)
	}
}

// idles shows whether a connection still works after it was silent.
func idles(silence time.Duration, gone bool) func(*world) {
	return func(w *world) {
		l := w.n.listen(w, "coordinator", server1)
		c, err := w.n.dial(w, "a", punchPort, server1)
		if err != nil {
			w.Fatal(err)
		}
		s := w.accept(l)
		<-time.After(silence)
		s.Write([]byte("x"))
		c.SetReadDeadline(time.Now().Add(400 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); (err != nil) != gone {
			w.Errorf("A read %v, want it lost %v", err, gone)
		}
	}
}

// sequence shows whether sequence numbers are the same inside and outside, and
// whether a segment far outside of the window comes in.
func sequence(same, strays bool) func(*world) {
	return func(w *world) {
		l := w.n.listen(w, "coordinator", server1)
		c, err := w.n.dial(w, "a", punchPort, server1)
		if err != nil {
			w.Fatal(err)
		}
		s := w.accept(l)
		inside, outside := queueSequence(w, c.(*net.TCPConn), sendQueue), queueSequence(w, s, receiveQueue)
		if got := inside == outside; got != same {
			w.Errorf("A is at %d inside and %d outside, want the same %v", inside, outside, same)
		}
		raw := w.n.packetConn(w, "a", "tcp")
		w.stray(s)
		raw.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if got := finds(raw, stray); got != strays {
			w.Errorf("a stray segment came in: %v, want %v", got, strays)
		}
	}
}

// The queues of TCP_REPAIR_QUEUE (linux/tcp.h).
const receiveQueue, sendQueue = 1, 2

// queueSequence is where a socket is in its sequence numbers.
func queueSequence(t testing.TB, c *net.TCPConn, queue int) (seq uint32) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var result error
	raw.Control(func(fd uintptr) {
		set := func(option, value int) error { return unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) }
		result = errors.Join(set(unix.TCP_REPAIR, 1), set(unix.TCP_REPAIR_QUEUE, queue))
		n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
		seq = uint32(n)
		result = errors.Join(result, err, set(unix.TCP_REPAIR, -1))
	})
	if result != nil {
		t.Fatal(result)
	}
	return seq
}

const stray = "a stray segment"

// stray sends one in the server's name, a gigabyte ahead.
func (w *world) stray(s *net.TCPConn) {
	w.Helper()
	from, to := s.LocalAddr().(*net.TCPAddr), s.RemoteAddr().(*net.TCPAddr)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(from.Port), DstPort: layers.TCPPort(to.Port), ACK: true, PSH: true, Window: 1000,
		Seq: queueSequence(w, s, sendQueue) + 1<<30, Ack: queueSequence(w, s, receiveQueue)}
	ip := &layers.IPv4{SrcIP: from.IP.To4(), DstIP: to.IP.To4(), Protocol: layers.IPProtocolTCP}
	tcp.SetNetworkLayerForChecksum(ip)
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true}, tcp, gopacket.Payload(stray)); err != nil {
		w.Fatal(err)
	}
	raw := w.n.packetConn(w, "coordinator", "tcp")
	if _, err := raw.WriteTo(b.Bytes(), &net.IPAddr{IP: to.IP}); err != nil {
		w.Fatal(err)
	}
}

// finds reads segments until one ends with the text, or until the deadline.
func finds(raw net.PacketConn, text string) bool {
	b := make([]byte, 2048)
	for {
		n, _, err := raw.ReadFrom(b)
		if err != nil {
			return false
		}
		if n >= len(text) && string(b[n-len(text):n]) == text {
			return true
		}
	}
}

// syn is what a server's kernel sees of A's first segment.
type syn struct {
	ttl     int
	mss     int
	options []layers.TCPOptionKind
}

func (s syn) has(kind layers.TCPOptionKind) bool {
	for _, o := range s.options {
		if o == kind {
			return true
		}
	}
	return false
}

// opensWith shows the SYN that the server gets.
func opensWith(right func(syn) bool) func(*world) {
	return func(w *world) {
		fd := w.rawTCP("coordinator")
		w.sees(server1)
		if s := w.firstSYN(fd); !right(s) {
			w.Errorf("the server got a SYN with %+v", s)
		}
	}
}

// rawTCP opens a socket that gets all TCP segments of a node with their IP
// headers (raw(7)).
func (w *world) rawTCP(node string) (fd int) {
	w.Helper()
	err := w.n.namespaces[node].Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { unix.Close(fd) })
	return fd
}

func (w *world) firstSYN(fd int) syn {
	w.Helper()
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	b := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			w.Fatal(err)
		}
		packet := gopacket.NewPacket(b[:n], layers.LayerTypeIPv4, gopacket.Default)
		ip, _ := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		tcp, _ := packet.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if ip == nil || tcp == nil || !tcp.SYN || tcp.ACK {
			continue
		}
		s := syn{ttl: int(ip.TTL)}
		for _, o := range tcp.Options {
			s.options = append(s.options, o.OptionType)
			if o.OptionType == layers.TCPOptionKindMSS {
				s.mss = int(binary.BigEndian.Uint16(o.OptionData))
			}
		}
		return s
	}
}

// profile is what the test is about.
func (w *world) profile() Profile {
	w.Helper()
	return profile(w, w.text)
}

// listenShared listens on a port that connections of the node use too.
func (n *Network) listenShared(t testing.TB, node string, port int) {
	t.Helper()
	config := net.ListenConfig{Control: reusePort}
	var l net.Listener
	err := n.namespaces[node].Do(func() (err error) {
		l, err = config.Listen(context.Background(), "tcp4", (&net.TCPAddr{Port: port}).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

// dialWithin connects and closes again. It may be called from any goroutine.
func (n *Network) dialWithin(limit time.Duration, node string, port int, to string) error {
	d := net.Dialer{Timeout: limit, LocalAddr: &net.TCPAddr{Port: port}, Control: reusePort}
	return n.namespaces[node].Do(func() error {
		c, err := d.DialContext(context.Background(), "tcp", to)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// packetConn is a UDP socket, or, at the address "tcp" or "icmp", one for all
// packets of that protocol.
func (n *Network) packetConn(t testing.TB, node, address string) net.PacketConn {
	t.Helper()
	network := "udp4"
	if address == "tcp" || address == "icmp" {
		network, address = "ip4:"+address, "0.0.0.0"
	}
	var c net.PacketConn
	err := n.namespaces[node].Do(func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
