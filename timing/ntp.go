package timing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/beevik/ntp"
)

// Timeouts of one request; a public server may be far away.
const (
	localTimeout  = time.Second
	publicTimeout = 2 * time.Second
)

// Public servers are a gift: they are asked at most twice, this far apart.
const (
	publicSamples = 2
	publicSpacing = 2 * time.Second
)

// rateSilence is how long a server is left alone that answered with RATE; it
// doubles each time, since RFC 5905 section 7.4 asks clients to go on reducing
// their rate.
const rateSilence = 30 * time.Minute

// NTP is an NTP server as a source: HOST, HOST:PORT, an IPv6 address with or
// without brackets. The port is 123 where none is given. A name is resolved
// once, so that all samples are from one server. Its errors are a *KissError,
// ErrUnsynchronised, or what went wrong on the way.
func NTP(server string, clock *Clock) Source { return &ntpSource{name: server, clock: clock} }

type ntpSource struct {
	name  string
	clock *Clock

	mu      sync.Mutex
	address netip.AddrPort // zero until resolved
	kiss    *KissError     // the last one
	quiet   Instant        // no request before, after a RATE
	silence time.Duration  // the last one's length
	smeared bool           // it said so
}

func (s *ntpSource) Name() string { return s.name }

// pace implements the etiquette for public servers. As long as no address is
// known, nobody was asked.
func (s *ntpSource) pace() (samples int, spacing time.Duration) {
	if !s.public() {
		return 1 << 30, 0
	}
	return publicSamples, publicSpacing
}

// public reports whether the server is known to be one for the public.
func (s *ntpSource) public() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address.IsValid() && !isLocal(s.address.Addr())
}

func (s *ntpSource) leap() leapStyle {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.smeared || smears(s.name) || s.address.IsValid() && smears(s.address.Addr().String()) {
		return leapSmeared
	}
	return leapStepped
}

func (s *ntpSource) Sample(ctx context.Context) (Sample, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kiss != nil && (s.kiss.Code != "RATE" || Now() < s.quiet) {
		return Sample{}, s.kiss
	}
	sample, err := s.query(ctx)
	if ctx.Err() != nil && err != nil {
		return Sample{}, ctx.Err()
	}
	if errors.As(err, &s.kiss) {
		s.silence = max(rateSilence, 2*s.silence)
		s.quiet = Now().Add(s.silence)
	}
	return sample, err
}

// query makes one exchange. beevik/ntp composes and reads the messages; T1 and
// T4 come from the exchange, on the local timescale.
func (s *ntpSource) query(ctx context.Context) (Sample, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return Sample{}, err
	}
	x := newExchange(conn, s.clock)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	timeout := localTimeout
	if !isLocal(s.address.Addr()) {
		timeout = publicTimeout
	}
	response, err := ntp.QueryWithOptions(s.address.String(), ntp.QueryOptions{
		Timeout:       timeout,
		GetSystemTime: x.now,
		Dialer:        func(_, _ string) (net.Conn, error) { return x, nil },
	})
	if err != nil {
		return Sample{}, explain(err, timeout)
	}
	if err := check(response); err != nil {
		return Sample{}, err
	}
	s.smeared = response.ReferenceID>>24 == smearReference && response.Stratum > 1
	return sampleOf(response, s.address.String(), x), nil
}

func explain(err error, timeout time.Duration) error {
	var t net.Error
	if errors.As(err, &t) && t.Timeout() {
		return fmt.Errorf("no reply within %v", timeout)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nothing listens on that port: %w", syscall.ECONNREFUSED)
	}
	return err
}

// check tells a server that refuses from one that does not know the time.
// Kiss codes other than the three that RFC 5905 section 7.4 gives to clients
// (INIT, STEP, none) mean the latter.
func check(r *ntp.Response) error {
	switch r.KissCode {
	case "RATE", "DENY", "RSTR":
		return &KissError{Code: r.KissCode}
	}
	if err := r.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsynchronised, err)
	}
	return nil
}

func sampleOf(r *ntp.Response, address string, x *exchange) Sample {
	t := r.Timestamps
	return Sample{
		Server: address,
		T1:     t.ClientXmit, T2: t.ServerRecv, T3: t.ServerXmit, T4: t.ClientRecv,
		Destination:    x.arrived,
		Precision:      min(max(r.Precision, 0), time.Second) + x.width + Precision(),
		Stamped:        x.width > 0,
		Stratum:        int(r.Stratum),
		RootDelay:      r.RootDelay,
		RootDispersion: r.RootDispersion,
	}
}

// dial connects to the address found before, or to the first of the name's
// addresses that this machine has a route to.
func (s *ntpSource) dial(ctx context.Context) (*net.UDPConn, error) {
	if s.address.IsValid() {
		return net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.address))
	}
	list, err := resolve(ctx, s.name)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, address := range list {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(address))
		if err == nil {
			s.address = address
			return conn, nil
		}
		failed = err
	}
	return nil, failed
}

func resolve(ctx context.Context, server string) ([]netip.AddrPort, error) {
	host, port, err := splitServer(server)
	if err != nil {
		return nil, err
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var list []netip.AddrPort
	for _, a := range addresses {
		list = append(list, netip.AddrPortFrom(a.Unmap(), port))
	}
	return list, nil
}

// CheckServer tells whether NTP understands how a server is written.
func CheckServer(server string) error {
	_, _, err := splitServer(server)
	return err
}

func splitServer(server string) (host string, port uint16, err error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(server, "["), "]")
	if a, err := netip.ParseAddr(bare); err == nil {
		return a.String(), 123, nil
	}
	if server != "" && !strings.ContainsAny(server, ":[] ") {
		return server, 123, nil
	}
	host, text, err := net.SplitHostPort(server)
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("%q is not HOST or HOST:PORT", server)
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is not a port", text)
	}
	return host, uint16(n), nil
}

// localNetworks are the networks whose servers are no public gift: those of
// the IANA special-purpose registries for private, shared, documentation and
// benchmark use.
var localNetworks = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("3fff::/20"),
}

func isLocal(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range localNetworks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
