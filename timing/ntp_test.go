package timing

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tcppunch/timing/timingtest"
)

// serve runs a responder on loopback for the length of the test.
func serve(t *testing.T, network, host string, s *timingtest.Server) string {
	t.Helper()
	conn, err := net.ListenPacket(network, net.JoinHostPort(host, "0"))
	if err != nil {
		t.Skipf("listen on %s: %v", host, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("responder: %v", err)
		}
	})
	return conn.LocalAddr().String()
}

// slack is what a busy machine may add to the error of the responder's own
// stamps; the bound has no such allowance.
const slack = 5 * ms

func TestNTPFindsTheOffsetWithinTheBound(t *testing.T) {
	for _, c := range []struct {
		name    string
		network string
		host    string
		server  *timingtest.Server
		clock   time.Duration
		want    time.Duration
		delay   time.Duration
	}{
		{"right clocks", "udp4", "127.0.0.1", &timingtest.Server{}, 0, 0, 0},
		{"IPv6", "udp6", "::1", &timingtest.Server{Offset: 3 * time.Second}, 0, 3 * time.Second, 0},
		{"server an hour ahead", "udp4", "127.0.0.1", &timingtest.Server{Offset: time.Hour}, 0, time.Hour, 0},
		{"client an hour ahead", "udp4", "127.0.0.1", &timingtest.Server{}, time.Hour, -time.Hour, 0},
		{"slow way there", "udp4", "127.0.0.1", &timingtest.Server{RequestDelay: 20 * ms}, 0, 10 * ms, 20 * ms},
		{"slow way back", "udp4", "127.0.0.1", &timingtest.Server{ReplyDelay: 20 * ms}, 0, -10 * ms, 20 * ms},
		{"slow server", "udp4", "127.0.0.1", &timingtest.Server{Processing: 20 * ms}, 0, 0, 0},
		{"server after the era's end in 2036", "udp4", "127.0.0.1", &timingtest.Server{Offset: 20 * 365 * 24 * time.Hour}, 0, 20 * 365 * 24 * time.Hour, 0},
		{"client before 1970", "udp4", "127.0.0.1", &timingtest.Server{}, -60 * 365 * 24 * time.Hour, 60 * 365 * 24 * time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, c.network, c.host, c.server)
			clock := NewClock(c.clock, 0)
			e, err := Sync(t.Context(), clock, []Source{NTP(address, clock)}, 8, ms)
			if err != nil {
				t.Fatal(err)
			}
			if d := (e.Offset - c.want).Abs(); d > slack {
				t.Errorf("offset: got %v, want %v", e.Offset, c.want)
			}
			truth := c.server.Offset - c.clock
			if d := (e.Offset - truth).Abs(); d > e.Bound {
				t.Errorf("the truth %v is %v off, outside of the bound %v", truth, d, e.Bound)
			}
			if e.Delay < c.delay || e.Delay > c.delay+4*slack {
				t.Errorf("delay: got %v, want %v", e.Delay, c.delay)
			}
			// A private server is asked again where other work on this machine looks like a queue.
			if e.Servers[0].Samples < 8 || e.Servers[0].Address != address {
				t.Errorf("server: got %+v, want 8 samples or more of %s", e.Servers[0], address)
			}
		})
	}
}

func TestNTPRecognisesServersThatGiveNoTime(t *testing.T) {
	for _, c := range []struct {
		name     string
		server   *timingtest.Server
		verdict  Verdict
		requests int
		says     string
	}{
		{"RATE", &timingtest.Server{KissCode: "RATE"}, KissOfDeath, 1, "RATE"},
		{"DENY", &timingtest.Server{KissCode: "DENY"}, KissOfDeath, 1, "DENY"},
		{"RSTR", &timingtest.Server{KissCode: "RSTR"}, KissOfDeath, 1, "RSTR"},
		{"DENY after two answers", &timingtest.Server{KissCode: "DENY", KissAfter: 2}, KissOfDeath, 3, "DENY"},
		{"INIT", &timingtest.Server{KissCode: "INIT"}, Unsynchronised, 1, "does not know the time"},
		{"unsynchronised", &timingtest.Server{Unsynchronised: true}, Unsynchronised, 1, "does not know the time"},
		{"stratum 16", &timingtest.Server{Stratum: 16}, Unsynchronised, 1, "does not know the time"},
		{"root dispersion of 20 s", &timingtest.Server{RootDispersion: 20 * time.Second}, Unsynchronised, 1, "does not know the time"},
		{"silence", &timingtest.Server{Silent: true}, Unreachable, 2, "no reply within 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, "udp4", "127.0.0.1", c.server)
			clock := NewClock(0, 0)
			source := NTP(address, clock)
			e, err := Sync(t.Context(), clock, []Source{source}, 8, ms)
			if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error: got %v, want %v naming %s and %q", err, ErrNoAnswer, address, c.says)
			}
			if got := e.Servers[0].Verdict; got != c.verdict {
				t.Errorf("verdict: got %v, want %v", got, c.verdict)
			}
			if got := c.server.Requests(); got != c.requests {
				t.Errorf("the server saw %d requests, want %d", got, c.requests)
			}
			if c.verdict == KissOfDeath {
				source.Sample(t.Context())
				if got := c.server.Requests(); got != c.requests {
					t.Errorf("it was asked again after its refusal: %d requests, want %d", got, c.requests)
				}
			}
		})
	}
}

func TestNTPBelievesWhatCameBeforeRATE(t *testing.T) {
	address := serve(t, "udp4", "127.0.0.1", &timingtest.Server{KissCode: "RATE", KissAfter: 3})
	clock := NewClock(0, 0)
	e, err := Sync(t.Context(), clock, []Source{NTP(address, clock)}, 8, ms)
	if err != nil || e.Servers[0].Samples != 3 || e.Servers[0].Verdict != Truechimer {
		t.Errorf("got %v, %+v, want 3 samples of a truechimer", err, e.Servers)
	}
}

func TestNTPNamesTheFalseticker(t *testing.T) {
	clock := NewClock(0, 0)
	var sources []Source
	for _, offset := range []time.Duration{0, time.Minute, 0} {
		address := serve(t, "udp4", "127.0.0.1", &timingtest.Server{Offset: offset})
		sources = append(sources, NTP(address, clock))
	}
	e, err := Sync(t.Context(), clock, sources, 4, ms)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := verdicts(e), "truechimer falseticker truechimer"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNTPEndsWithItsContext(t *testing.T) {
	server := &timingtest.Server{Silent: true}
	address := serve(t, "udp4", "127.0.0.1", server)
	ctx, cancel := context.WithTimeout(t.Context(), 20*ms)
	defer cancel()
	begin := Now()
	_, err := NTP(address, NewClock(0, 0)).Sample(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if d := Now().Sub(begin); d > 500*ms {
		t.Errorf("took %v", d)
	}
}

func TestClosedPortIsUnreachable(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := conn.LocalAddr().String()
	conn.Close()
	clock := NewClock(0, 0)
	e, err := Sync(t.Context(), clock, []Source{NTP(address, clock)}, 8, ms)
	if !errors.Is(err, ErrNoAnswer) || e.Servers[0].Verdict != Unreachable {
		t.Errorf("got %v, %+v", err, e.Servers)
	}
}

func TestServersMayBeWrittenInManyWays(t *testing.T) {
	for _, c := range []struct {
		text string
		host string
		port uint16
	}{
		{"pool.ntp.org", "pool.ntp.org", 123},
		{"pool.ntp.org:1123", "pool.ntp.org", 1123},
		{"192.0.2.1", "192.0.2.1", 123},
		{"192.0.2.1:5", "192.0.2.1", 5},
		{"2001:db8::1", "2001:db8::1", 123},
		{"[2001:db8::1]", "2001:db8::1", 123},
		{"[2001:db8::1]:5", "2001:db8::1", 5},
		{"fe80::1%eth0", "fe80::1%eth0", 123},
		{"", "", 0},
		{":123", "", 0},
		{"host:", "", 0},
		{"host:0", "", 0},
		{"host:x", "", 0},
		{"host:123:4", "", 0},
		{"a b", "", 0},
	} {
		host, port, err := splitServer(c.text)
		if host != c.host || port != c.port || (err == nil) != (c.host != "") {
			t.Errorf("%q: got %q, %d, %v, want %q, %d", c.text, host, port, err, c.host, c.port)
		}
	}
}

func TestOnlyPublicServersAreSpared(t *testing.T) {
	for text, want := range map[string]bool{
		"10.0.0.1": true, "127.0.0.1": true, "::1": true, "192.168.0.1": true, "100.64.0.1": true, "203.0.113.7": true,
		"198.18.0.1": true, "fd00::1": true, "2001:db8::1": true, "fe80::1%eth0": true, "::ffff:10.0.0.1": true,
		"8.8.8.8": false, "2606:4700::1": false, "::ffff:8.8.8.8": false, "172.32.0.1": false,
	} {
		if got := isLocal(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
		s := &ntpSource{address: netip.AddrPortFrom(netip.MustParseAddr(text), 123)}
		if n, spacing := s.pace(); !want && (n != 2 || spacing < 2*time.Second) {
			t.Errorf("%s: %d requests %v apart, want 2, 2s apart", text, n, spacing)
		}
	}
}

func TestWallClockSetDuringAnExchangeIsNoticed(t *testing.T) {
	a := reading{mono: 1000, wall: at(0), width: 50}
	b := reading{mono: 2000, wall: at(1000), width: 60}
	if moved(a, b) {
		t.Error("clocks that run together are said to have moved apart")
	}
	b.wall = at(1000 + 10*time.Microsecond)
	if !moved(a, b) {
		t.Error("a step of 10 µs went unnoticed")
	}
}
