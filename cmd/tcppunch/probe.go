package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/predict/nat"
	"tcppunch/predict/probe"
	"tcppunch/rawsock"
	"tcppunch/timing"
)

// defaultSTUNPort is that of RFC 8489 section 18.6.
const defaultSTUNPort = 3478

func probeCommand() *cli.Command {
	return &cli.Command{
		Name:  "probe",
		Usage: "find out what the NAT in front of this host does to TCP",
		Description: "Asks STUN servers over TCP how local ports look from outside, and lets the coordinator connect\n" +
			"back. Without a coordinator the filtering, the answer to an unsolicited SYN, crossing SYNs and resets\n" +
			"stay unknown. Takes at most 40 connections, and some 8 s, since a NAT may hold a SYN for 6 s.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "coordinator", Usage: "`KEY@HOST:PORT` as the coordinator printed it"},
			&cli.StringSliceFlag{Name: "stun", Usage: "`HOST[:PORT]` of a STUN server that answers over TCP; may be repeated"},
			&cli.IntFlag{Name: "local-port", Usage: "look at this local `PORT`, from which a meeting will start; 0: any"},
			&cli.IntFlag{Name: "budget", Value: 100, Usage: "SYNs that a meeting may send, for the outlook: `N`"},
			&cli.BoolFlag{Name: "brief", Usage: "leave out what takes seconds: crossing, reset, hairpin, held SYNs"},
			jsonFlag(),
		},
		Action: runProbe,
	}
}

func init() { classifiers = append(classifiers, classifyProbe) }

func classifyProbe(err error) *failure {
	if errors.Is(err, probe.ErrNoServer) {
		return &failure{Status: statusFailed, Kind: "no-answer", Message: strings.ReplaceAll(err.Error(), "\n", "; "),
			Hint: "name a server that answers STUN over TCP with --stun; many answer over UDP only"}
	}
	return nil
}

// probeDocument is what --json prints.
type probeDocument struct {
	probe.Report
	Peers []probe.Prospect `json:"peers"`
}

func runProbe(c *cli.Context) error {
	if err := checkProbeFlags(c); err != nil {
		return err
	}
	cfg, end, err := probeConfig(c)
	if err != nil {
		return err
	}
	defer end()
	report, err := probe.Run(c.Context, cfg)
	if err != nil {
		return err
	}
	for _, f := range report.Unreachable {
		streamsOf(c).say("no answer from the STUN server %v: %s", f.Server, f.Error)
	}
	d := probeDocument{report, probe.Outlooks(report, c.Int("budget"))}
	return result(c, d, func(w io.Writer) error { return writeProbe(w, d) })
}

func checkProbeFlags(c *cli.Context) error {
	if c.String("coordinator") == "" && len(c.StringSlice("stun")) == 0 {
		return usageError("name whom to ask", "give --coordinator KEY@HOST:PORT, or --stun HOST[:PORT]")
	}
	if p := c.Int("local-port"); p < 0 || p > 65535 {
		return usageError(fmt.Sprintf("--local-port %d is not a port", p), "ports are 1 to 65535; 0: any")
	}
	if n := c.Int("budget"); n < 1 || n > 1<<17 {
		return usageError(fmt.Sprintf("a budget of %d SYNs is none", n), "--budget is from 1 to 131072")
	}
	return nil
}

// probeConfig finds the servers and the partner. end closes what it opened.
func probeConfig(c *cli.Context) (cfg probe.Config, end func(), err error) {
	end = func() {}
	cfg = probe.Config{Network: probeNetwork{}, Brief: c.Bool("brief")}
	servers, err := namedServers(c)
	if err != nil {
		return cfg, end, err
	}
	if c.String("coordinator") != "" {
		client, err := visit(c, &cfg, &servers)
		if err != nil {
			return cfg, end, err
		}
		end = func() { client.Close() }
	}
	local, family, err := probeSource(c, cfg.Back, servers)
	if err != nil {
		end()
		return cfg, func() {}, err
	}
	cfg.Local = netip.AddrPortFrom(local, uint16(c.Int("local-port")))
	cfg.Servers = family
	return cfg, end, nil
}

// visit connects to the coordinator, under a key that is forgotten afterwards,
// and puts its STUN servers before those that were named.
func visit(c *cli.Context, cfg *probe.Config, servers *[]netip.AddrPort) (*rendezvous.Client, error) {
	client, err := dialCoordinator(c, timing.NewClock(0, 0))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context, 10*time.Second)
	defer cancel()
	welcome, err := client.Visit(ctx)
	if err != nil {
		client.Close()
		return nil, err
	}
	list, lost := client.Servers(ctx, welcome)
	for _, server := range lost {
		streamsOf(c).say("the STUN server %s cannot be found", server)
	}
	cfg.Back, cfg.Username = client.DialBack(), welcome.Token
	*servers = append(list, *servers...)
	return client, nil
}

// namedServers resolves --stun.
func namedServers(c *cli.Context) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for _, text := range c.StringSlice("stun") {
		host, port, err := rendezvous.SplitHostPort(text, defaultSTUNPort)
		if err != nil {
			return nil, usageError("--stun: "+err.Error(), "such as --stun 192.0.2.1, --stun stun.example.org:3478 or --stun [2001:db8::1]:3478")
		}
		addrs, err := net.DefaultResolver.LookupNetIP(c.Context, "ip", host)
		if err != nil {
			return nil, &failure{Status: statusFailed, Kind: "unknown-host", Message: fmt.Sprintf("the host %q cannot be found: %v", host, err)}
		}
		for _, a := range addrs {
			list = append(list, netip.AddrPortFrom(a.Unmap(), port))
		}
	}
	return list, nil
}

// probeSource chooses the address family: the coordinator's, or else IPv4 where
// this host has it, since that is where the NATs are. It returns this host's
// address and the servers of that family.
func probeSource(c *cli.Context, back probe.DialBack, servers []netip.AddrPort) (netip.Addr, []netip.AddrPort, error) {
	families := []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6}
	if back != nil && back.Host().Is4() {
		families = families[:1]
	} else if back != nil {
		families = families[1:]
	}
	err := errors.New("no server of that family")
	for _, family := range families {
		list := slices.DeleteFunc(slices.Clone(servers), func(s netip.AddrPort) bool { return !family(s.Addr()) })
		if len(list) == 0 {
			continue
		}
		var local netip.Addr
		if local, err = routeSource(list[0]); err == nil {
			return local, unique(list), nil
		}
	}
	return netip.Addr{}, nil, fmt.Errorf("find a way to a STUN server: %w", err)
}

func unique(list []netip.AddrPort) []netip.AddrPort {
	var kept []netip.AddrPort
	for _, a := range list {
		if !slices.Contains(kept, a) {
			kept = append(kept, a)
		}
	}
	return kept
}

// routeSource is the address from which this host would send to remote. The
// connected UDP socket sends nothing.
func routeSource(remote netip.AddrPort) (netip.Addr, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// probeNetwork hands package rawsock to package probe.
type probeNetwork struct{}

func (probeNetwork) Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	return rawsock.Dial(ctx, local, remote, rawsock.Options{})
}

func (probeNetwork) Listen(ctx context.Context, local netip.AddrPort) (net.Listener, error) {
	return rawsock.Listen(ctx, local)
}

func (probeNetwork) Start(local, remote netip.AddrPort) (probe.Attempt, error) {
	s, err := rawsock.Open(local, rawsock.Options{})
	if err != nil {
		return nil, err
	}
	if err := s.Connect(remote); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// writeProbe shows the behaviours in a table and the outlook in sentences.
func writeProbe(w io.Writer, d probeDocument) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range probeRows(d) {
		fmt.Fprintf(t, "%s\t%s\n", row[0], row[1])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nThis host")
	for _, p := range d.Peers {
		fmt.Fprintf(w, "- %s.\n", p.Sentence)
	}
	_, err := fmt.Fprintf(w, "\n%d connections in %.1f s\n", d.Connections, d.Elapsed.Seconds())
	return err
}

func probeRows(d probeDocument) [][2]string {
	reasons := map[string]string{}
	for _, u := range d.Unknown {
		reasons[u.Field] = u.Why
	}
	word := func(field, word string, known bool) string {
		if known {
			return word
		}
		if why := reasons[field]; why != "" {
			return "unknown: " + why
		}
		return "unknown"
	}
	yes := func(field string, v *bool) string { return word(field, yesOrNo(v), v != nil) }
	return [][2]string{
		{"local port", d.Local.String()},
		{"seen as", d.Reflexive.String()},
		{"translated", yes("translated", d.Translated)},
		{"mapping", word("mapping", d.Mapping.String(), d.Mapping != nat.MappingUnknown)},
		{"filtering", word("filtering", d.Filtering.String(), d.Filtering != nat.FilteringUnknown)},
		{"unsolicited SYN", word("unsolicited", d.Unsolicited.String(), d.Unsolicited != nat.UnsolicitedUnknown)},
		{"simultaneous open", yes("simultaneous_open", d.SimultaneousOpen)},
		{"mapping survives a reset", yes("mapping_survives_reset", d.MappingSurvivesReset)},
		{"hairpinning", yes("hairpinning", d.Hairpinning)},
		{"pooling", word("pooling", d.Pooling.String(), d.Pooling != nat.PoolingUnknown)},
		{"rewrites payload", yes("alg", d.PayloadRewritten)},
		{"ports", word("ports", d.Ports.Model.String(), d.Ports.Model != nat.PortsUnknown)},
		{"next ports", nextPorts(d.Report)},
	}
}

func yesOrNo(v *bool) string {
	if v != nil && *v {
		return "yes"
	}
	return "no"
}

func nextPorts(r probe.Report) string {
	var list []string
	for _, p := range r.Ports.Next {
		list = append(list, fmt.Sprintf("%d (%s)", p.Port, strings.TrimSpace(likelihood(p.Probability))))
	}
	return strings.Join(list, ", ")
}
