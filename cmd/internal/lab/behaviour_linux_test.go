package lab

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tcppunch/predict/nat"
)

// world is a network in which one side's behaviour is looked at from outside:
// A stands behind the boxes, B is public, the coordinator has two addresses.
type world struct {
	*testing.T
	text string // the profile
	n    *Network
}

// Two servers, each with two sockets, and where a stranger sits.
const (
	server1, server1b = "192.0.2.10:1001", "192.0.2.10:1002"
	server2           = "192.0.2.11:1001"
	outsideA          = "198.51.100.1"
	publicB           = "203.0.113.1"
)

// behaviours has for every value of every key what shows it from outside,
// through the sockets of the nodes' kernels.
var behaviours = []struct {
	profile string // the value is the last key
	shows   func(*world)
}{
	{"engine=emulated", func(w *world) { w.sees(server1) }},
	{"linux,engine=netfilter", func(w *world) { w.sees(server1) }},

	{"ports=random,mapping=eim", mapped(true, true, true)},
	{"ports=random,mapping=adm", mapped(true, false, true)},
	{"ports=random,mapping=apdm", mapped(false, false, true)},
	{"ports=random,mapping=connection", mapped(false, false, false)},
	{"linux,mapping=eim", mapped(true, true, true)},
	{"linux-random,mapping=connection", mapped(false, false, false)},

	{"filtering=eif", admits(true, true)},
	{"filtering=adf", admits(true, false)},
	{"filtering=apdf", admits(false, false)},
	{"linux,filtering=apdf", admits(false, false)},

	{"overload=yes,mapping=apdm,ports=preserve", ports(func(p []uint16) bool { return span(p) == 0 && p[0] == punchPort })},
	{"mapping=apdm,ports=sequential:1", ports(stepping(1))},
	{"mapping=apdm,ports=sequential:-3", ports(stepping(-3))},
	{"mapping=apdm,ports=lowest", ports(func(p []uint16) bool { return p[0] == 1024 && stepping(1)(p) })},
	{"mapping=apdm,ports=random", ports(func(p []uint16) bool { return span(p) > 5000 })},
	{"mapping=apdm,ports=random:30000-30099", ports(func(p []uint16) bool { return slices.Min(p) >= 30000 && slices.Max(p) <= 30099 && span(p) > 8 })},
	{"mapping=apdm,ports=band:64", ports(func(p []uint16) bool { return span(p) < 64 && span(p) > len(p) })},
	{"mapping=apdm,ports=block:4", ports(func(p []uint16) bool { return span(p[:4]) == 3 && span(p[4:8]) == 3 && span(p) > 3 })},
	{"mapping=apdm,ports=parity", ports(func(p []uint16) bool {
		return span(p) > 5000 && !slices.ContainsFunc(p, func(x uint16) bool { return x%2 != punchPort%2 })
	})},
	{"linux,ports=preserve", ports(func(p []uint16) bool { return span(p) == 0 && p[0] == punchPort })},
	{"linux-random,ports=random", ports(func(p []uint16) bool { return span(p) > 5000 })},
	{"linux-random,ports=random:30000-30099", ports(func(p []uint16) bool { return slices.Min(p) >= 30000 && slices.Max(p) <= 30099 && span(p) > 8 })},
	{"linux-sequential,ports=sequential:1", ports(stepping(1))},

	{"mapping=apdm,ports=random,pool=paired:4", addresses(func(n int) bool { return n == 1 })},
	{"mapping=apdm,ports=random,pool=arbitrary:4", addresses(func(n int) bool { return n > 1 && n <= 4 })},

	{"unsolicited=drop", answers(isTimeout)},
	{"unsolicited=rst", answers(isRefused)},
	{"unsolicited=icmp", (*world).rejects},
	{"unsolicited=hold", (*world).holds},
	{"unsolicited=poison", (*world).poisons},
	{"linux,unsolicited=drop", answers(isTimeout)},
	{"linux,unsolicited=rst", answers(isRefused)},
	{"linux,unsolicited=icmp", (*world).rejects},
	{"linux,unsolicited=poison", answers(isRefused)},

	{"filtering=eif,hairpin=no", hairpins(false)},
	{"filtering=eif,hairpin=yes", hairpins(true)},

	{"overload=no", overloads(false)},
	{"overload=yes", overloads(true)},
	{"linux,overload=yes", overloads(true)},

	{"syn-rate=2", opens(1, 4)},
	{"quota=3", opens(3, 3)},
	{"mapping=apdm,ports=sequential:1,churn=4000", ports(func(p []uint16) bool { return !stepping(1)(p) })},
	{"mapping=apdm,ports=sequential:1,churn=40000:20", ports(func(p []uint16) bool { return !stepping(1)(p) })},

	{"udp=keep", udp(true)},
	{"udp=drop", udp(false)},
	{"linux,udp=keep", udp(true)},
	{"linux,udp=drop", udp(false)},
}

func TestEveryBehaviourShowsOutside(t *testing.T) {
	for _, b := range slices.Concat(behaviours, segmentBehaviours) {
		t.Run(b.profile, func(t *testing.T) {
			t.Parallel()
			b.shows(&world{t, b.profile, build(t, b.profile, "public", 2*time.Millisecond)})
		})
	}
}

// TestEveryValueHasItsBehaviour keeps the tables complete.
func TestEveryValueHasItsBehaviour(t *testing.T) {
	shown := map[string]bool{}
	for _, b := range slices.Concat(behaviours, segmentBehaviours) {
		for setting := range strings.SplitSeq(b.profile, ",") {
			key, value, _ := strings.Cut(setting, "=")
			word, argument, more := strings.Cut(value, ":")
			shown[key+"="+word] = true
			if more {
				shown[key+"="+word+":"] = true
				shown[key+"=:"+strings.Map(noDigits, argument)] = true
			}
			if strings.Trim(word, "0123456789.mshu") == "" {
				shown[key+"="] = true
			}
		}
	}
	for _, key := range keys() {
		forms := nat.Forms(key)
		switch key {
		case "engine":
			forms = []string{"emulated", "netfilter"}
		case "udp":
			forms = []string{"keep", "drop"}
		}
		for _, form := range forms {
			word, argument, more := strings.Cut(form, ":")
			if more {
				word += ":"
			} else if word == strings.ToUpper(word) {
				word = ""
			}
			if key == "churn" && argument != "" { // LAMBDA:BATCH
				word = "40000:"
			}
			if key == "pool" && !more {
				continue // a pool without a size is of the one address that there is
			}
			if !shown[key+"="+word] {
				t.Errorf("nothing shows %s=%s", key, form)
			}
		}
	}
}

func noDigits(r rune) rune {
	if r >= '0' && r <= '9' {
		return -1
	}
	return r
}

const punchPort = 4321 // inside

// sees is A's outside end as a server sees it.
func (w *world) sees(server string) netip.AddrPort {
	w.Helper()
	return w.seesFrom("a", punchPort, server)
}

func (w *world) seesFrom(node string, port int, server string) netip.AddrPort {
	w.Helper()
	l := w.n.listen(w, "coordinator", server)
	defer l.Close()
	return w.n.reflexive(w, node, port, l, server)
}

// again is what the server sees of two connections between the same ends, one
// after the other.
func (w *world) again(server string) (first, second netip.AddrPort) {
	w.Helper()
	l := w.n.listen(w, "coordinator", server)
	defer l.Close()
	for _, end := range []*netip.AddrPort{&first, &second} {
		c, err := w.n.dial(w, "a", punchPort, server)
		if err != nil {
			w.Fatal(err)
		}
		s := w.accept(l)
		*end = s.RemoteAddr().(*net.TCPAddr).AddrPort()
		s.Close()
		c.Read(make([]byte, 1)) // its end
		c.Close()
	}
	return first, second
}

func (w *world) accept(l *net.TCPListener) *net.TCPConn {
	w.Helper()
	l.SetDeadline(time.Now().Add(2 * time.Second))
	s, err := l.AcceptTCP()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { s.Close() })
	return s
}

// abort ends a connection by a RST from outside and waits until it has come.
func (w *world) abort(server *net.TCPConn, client net.Conn) {
	w.Helper()
	server.SetLinger(0)
	server.Close()
	client.SetReadDeadline(time.Now().Add(2 * time.Second))
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		w.Fatalf("got %v, want a reset", err)
	}
	client.Close()
}

// mapped shows when the same mapping is used: for another port of a server, for
// another server, and for another connection to the same one.
func mapped(port, address, connection bool) func(*world) {
	return func(w *world) {
		first, second := w.again(server1)
		if got := first == second; got != connection {
			w.Errorf("a second connection: same mapping %v, want %v (%v, %v)", got, connection, first, second)
		}
		base, other, far := w.sees(server1), w.sees(server1b), w.sees(server2)
		if got := base == other; got != port {
			w.Errorf("another port of the server: same mapping %v, want %v", got, port)
		}
		if got := base == far; got != address {
			w.Errorf("another server: same mapping %v, want %v", got, address)
		}
	}
}

// admits shows who else may use A's mapping towards the server: the same server
// from another port, and a stranger.
func admits(sameAddress, stranger bool) func(*world) {
	return func(w *world) {
		outside := w.sees(server1).String()
		w.n.listenShared(w, "a", punchPort)
		if _, err := w.n.dial(w, "coordinator", 0, outside); (err == nil) != sameAddress {
			w.Errorf("from the server's other port: %v, want admission %v", err, sameAddress)
		}
		if _, err := w.n.dial(w, "b", 0, outside); (err == nil) != stranger {
			w.Errorf("from a stranger: %v, want admission %v", err, stranger)
		}
	}
}

// ports shows the outside ports of eight connections of one local port to eight
// destinations, in their order.
func ports(right func([]uint16) bool) func(*world) {
	return func(w *world) {
		var seen []uint16
		for i := range 8 {
			seen = append(seen, w.sees(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), uint16(2000+i)).String()).Port())
		}
		if !right(seen) {
			w.Errorf("eight destinations saw ports %v", seen)
		}
	}
}

func span(p []uint16) int { return int(slices.Max(p)) - int(slices.Min(p)) }

func stepping(delta int) func([]uint16) bool {
	return func(p []uint16) bool {
		for i := range p[1:] {
			if int(p[i+1])-int(p[i]) != delta {
				return false
			}
		}
		return true
	}
}

// addresses shows from how many outside addresses ten connections come.
func addresses(right func(int) bool) func(*world) {
	return func(w *world) {
		seen := map[netip.Addr]bool{}
		for i := range 10 {
			seen[w.sees(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.10"), uint16(2000+i)).String()).Addr()] = true
		}
		if !right(len(seen)) {
			w.Errorf("ten destinations saw addresses %v", seen)
		}
	}
}

func isRefused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// answers shows what a stranger's SYN meets.
func answers(right func(error) bool) func(*world) {
	return func(w *world) {
		if _, err := w.n.dial(w, "b", 0, outsideA+":5000"); !right(err) {
			w.Errorf("a SYN that nobody asked for met %v", err)
		}
	}
}

// rejects shows that a stranger's SYN meets an ICMP error, and no RST.
func (w *world) rejects() {
	icmp, tcp := w.n.packetConn(w, "b", "icmp"), w.n.packetConn(w, "b", "tcp")
	if _, err := w.n.dial(w, "b", 0, outsideA+":5000"); err == nil || isTimeout(err) {
		w.Errorf("a SYN that nobody asked for met %v, want an error", err)
	}
	for _, c := range []net.PacketConn{icmp, tcp} {
		c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		b := make([]byte, 100)
		if _, _, err := c.ReadFrom(b); (err == nil && b[0] == 3) != (c == icmp) {
			w.Errorf("B read %v and % x, want an ICMP error and nothing else", err, b[:8])
		}
	}
}

// holds shows that an early SYN meets silence, and rejection only after six
// seconds, but neither if the inside connects in time.
func (w *world) holds() {
	early := make(chan error, 2)
	go func() { early <- w.n.dialWithin(8*time.Second, "b", 7000, outsideA+":5000") }()
	late := make(chan error, 1)
	go func() { late <- w.n.dialWithin(8*time.Second, "b", 7001, outsideA+":5001") }()
	if !eventually(func() bool { n, _ := w.n.Unsolicited("nat-a"); return n >= 2 }) {
		w.Fatal("the SYNs did not come")
	}
	if err := w.n.dialWithin(2*time.Second, "a", 5000, publicB+":7000"); err != nil {
		w.Errorf("from inside: %v, want a connection with the one that was held", err)
	}
	if err := <-early; err != nil {
		w.Errorf("the held one: %v, want a connection", err)
	}
	started := time.Now()
	if err := <-late; err == nil || isTimeout(err) || time.Since(started) < 3*time.Second {
		w.Errorf("the other one: %v after %v, want a rejection after six seconds", err, time.Since(started))
	}
}

// poisons shows that the box answers for itself, and that A then does not get
// the port for the same peer.
func (w *world) poisons() {
	if _, err := w.n.dial(w, "b", 7000, outsideA+":5000"); !isRefused(err) {
		w.Errorf("a SYN that nobody asked for met %v, want a refusal", err)
	}
	l := w.n.listen(w, "b", publicB+":7000")
	if got := w.n.reflexive(w, "a", 5000, l, publicB+":7000").Port(); got == 5000 {
		w.Error("A got the port that was taken")
	}
}

// hairpins shows whether A's neighbour reaches A's mapping from inside.
func hairpins(want bool) func(*world) {
	return func(w *world) {
		n := w.shared()
		outside := w.within(n).sees(server1).String()
		n.listenShared(w, "a", punchPort)
		if _, err := n.dial(w, "b", 0, outside); (err == nil) != want {
			w.Errorf("a neighbour met %v, want a connection %v", err, want)
		}
	}
}

// overloads shows whether two neighbours get the same outside port for different
// destinations.
func overloads(want bool) func(*world) {
	return func(w *world) {
		s := w.within(w.shared())
		a, b := s.seesFrom("a", punchPort, server1), s.seesFrom("b", punchPort, server2)
		if got := a == b; got != want {
			w.Errorf("two neighbours got %v and %v, want the same: %v", a, b, want)
		}
	}
}

// shared is a network in which B stands beside A behind the same box.
func (w *world) shared() *Network {
	w.Helper()
	p := w.profile()
	p.Shared = true
	return buildOf(w.T, p, p, 2*time.Millisecond)
}

func (w *world) within(n *Network) *world { return &world{w.T, w.text, n} }

// opens shows how many of six ports can open a connection at once.
func opens(least, most int) func(*world) {
	return func(w *world) {
		w.n.listen(w, "coordinator", server1)
		results := make(chan error, 6)
		for i := range cap(results) {
			go func() { results <- w.n.dialWithin(400*time.Millisecond, "a", 6000+i, server1) }()
		}
		open := 0
		for range cap(results) {
			if <-results == nil {
				open++
			}
		}
		if open < least || open > most {
			w.Errorf("%d of 6 connections opened, want %d to %d", open, least, most)
		}
	}
}

// udp shows whether a datagram leaves.
func udp(want bool) func(*world) {
	return func(w *world) {
		server := w.n.packetConn(w, "coordinator", "192.0.2.10:9000")
		client := w.n.packetConn(w, "a", "0.0.0.0:0")
		if _, err := client.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.10:9000"))); err != nil {
			w.Fatal(err)
		}
		server.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, _, err := server.ReadFrom(make([]byte, 10)); (err == nil) != want {
			w.Errorf("the datagram: %v, want it to arrive %v", err, want)
		}
	}
}
