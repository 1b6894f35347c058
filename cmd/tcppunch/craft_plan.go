package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/rawsock"
	"tcppunch/timing"
)

// craftPlanOf reads the flags.
func craftPlanOf(c *cli.Context, kind string, flags rawsock.Flags) (*craftPlan, error) {
	p := &craftPlan{kind: kind, spacing: c.Duration("spacing"), timeout: c.Duration("timeout"), guard: c.Bool("guard")}
	s, err := craftSegment(c, kind, flags)
	if err != nil {
		return nil, err
	}
	if err := p.schedule(c); err != nil {
		return nil, err
	}
	if s.To, err = craftTarget(c); err != nil {
		return nil, err
	}
	if s.From, err = craftSource(c, s.To); err != nil {
		return nil, err
	}
	return p, p.repeat(c, s)
}

// schedule reads when and how often.
func (p *craftPlan) schedule(c *cli.Context) error {
	switch n := c.Int("count"); {
	case n < 1 || n > craftMaxCount:
		return usageError(fmt.Sprintf("--count %d: one run sends 1 to %d segments", n, craftMaxCount), "this is a tool for looking, not for flooding")
	case p.spacing < craftMinSpacing:
		return usageError(fmt.Sprintf("--spacing %v: at least %v", p.spacing, craftMinSpacing), "this is a tool for looking, not for flooding")
	case p.timeout < 0:
		return usageError("--timeout is negative", "give a time such as 1s, or 0s not to wait")
	}
	if c.String("at") == "" {
		return nil
	}
	clock := timing.NewClock(0, 0)
	wish, err := parseWish(c.String("at"), clock.Now())
	if err != nil {
		return err
	}
	at := clock.Now().Add(wish.After)
	if wish.At != nil {
		at = *wish.At
	}
	p.at, p.wall = clock.Instant(at), &at
	return nil
}

// repeat makes the segments: each from the next source port, so that every one
// is of a flow of its own, or all the same.
func (p *craftPlan) repeat(c *cli.Context, s rawsock.Segment) error {
	last := int(s.From.Port())
	if !c.Bool("same-port") {
		last += c.Int("count") - 1
	}
	if last > 65535 {
		return usageError(fmt.Sprintf("%d segments from port %d on need ports beyond 65535", c.Int("count"), s.From.Port()), "give a lower --from-port, or --same-port")
	}
	for i := range c.Int("count") {
		next := s
		if !c.Bool("same-port") {
			next.From = netip.AddrPortFrom(s.From.Addr(), s.From.Port()+uint16(i))
		}
		p.segments = append(p.segments, next)
	}
	if _, err := s.AppendBinary(nil); err != nil {
		return usageError(err.Error(), "see --help for what each flag takes")
	}
	return nil
}

// craftSegment reads all but the ends.
func craftSegment(c *cli.Context, kind string, flags rawsock.Flags) (s rawsock.Segment, err error) {
	s = rawsock.Segment{Flags: flags, Seq: randomSequence(), DontFragment: !c.Bool("fragmentable")}
	if s.Flags, err = craftFlagsOf(c, kind, flags); err != nil {
		return s, err
	}
	for _, field := range []struct {
		name  string
		limit uint64
		set   func(uint64)
	}{
		{"seq", 1<<32 - 1, func(n uint64) { s.Seq = uint32(n) }},
		{"ack", 1<<32 - 1, func(n uint64) { s.Ack = uint32(n) }},
		{"window", 65535, func(n uint64) { s.Window = uint16(n) }},
		{"urgent", 65535, func(n uint64) { s.Urgent = uint16(n) }},
		{"ttl", 255, func(n uint64) { s.TTL = uint8(n) }},
		{"tos", 255, func(n uint64) { s.TOS = uint8(n) }},
		{"id", 65535, func(n uint64) { s.ID = uint16(n) }},
	} {
		n := c.Uint64(field.name)
		if field.name != "seq" && field.name != "ack" {
			n = uint64(c.Uint(field.name))
		}
		if n > field.limit || field.name == "ttl" && n == 0 {
			return s, usageError(fmt.Sprintf("--%s %d does not fit its field", field.name, n), fmt.Sprintf("it goes up to %d", field.limit))
		}
		if field.name != "seq" || c.IsSet("seq") {
			field.set(n)
		}
	}
	return s, craftBody(c, &s)
}

func craftFlagsOf(c *cli.Context, kind string, flags rawsock.Flags) (rawsock.Flags, error) {
	given := c.String("flags")
	switch {
	case kind != "segment" && given != "":
		return 0, usageError("--flags goes with the kind segment", "tcppunch craft segment --flags "+given)
	case kind != "segment":
		return flags, nil
	case given == "":
		return 0, usageError("the kind segment needs --flags", "such as --flags syn,ack or --flags none")
	}
	if err := flags.UnmarshalText([]byte(given)); err != nil {
		return 0, usageError("--flags: "+err.Error(), "such as --flags syn,ack or --flags none")
	}
	return flags, nil
}

// defaultCraftMSS is what fits Ethernet over IPv4, and what a SYN usually has.
const defaultCraftMSS = 1460

func craftBody(c *cli.Context, s *rawsock.Segment) error {
	if s.Flags.Has(rawsock.SYN) && !c.IsSet("options") {
		s.Options = s.Options.MSS(defaultCraftMSS)
	}
	if c.IsSet("options") {
		if err := s.Options.UnmarshalText([]byte(c.String("options"))); err != nil {
			return usageError("--options: "+err.Error(), "such as --options mss=1460,sack,ts=1:0,nop,wscale=7,raw=fd02")
		}
	}
	s.Payload = []byte(c.String("payload"))
	if digits, ok := strings.CutPrefix(c.String("payload"), "hex:"); ok {
		var err error
		if s.Payload, err = hex.DecodeString(digits); err != nil {
			return usageError(fmt.Sprintf("--payload hex:%s is not hexadecimal", digits), "two digits stand for a byte: hex:00ff")
		}
	}
	if len(s.Payload) > craftMaxPayload {
		return usageError(fmt.Sprintf("--payload has %d bytes", len(s.Payload)), fmt.Sprintf("at most %d fit a packet of Ethernet", craftMaxPayload))
	}
	return nil
}

const craftMaxPayload = 1400

func randomSequence() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.NativeEndian.Uint32(b[:])
}

// craftTarget resolves --to. What the user types is the consent, but no group
// of hosts is a target.
func craftTarget(c *cli.Context) (netip.AddrPort, error) {
	if c.String("to") == "" {
		return netip.AddrPort{}, usageError("name the peer", "give --to HOST:PORT after the kind")
	}
	to, err := resolveEndpoint(c.Context, "--to", c.String("to"))
	if err != nil {
		return netip.AddrPort{}, err
	}
	if rendezvous.ClassOf(to.Addr()) == rendezvous.Forbidden {
		return netip.AddrPort{}, &failure{Status: statusRefused, Kind: "refused", Message: fmt.Sprintf("%v is no address of a single host on a network: nothing is sent there", to.Addr()),
			Hint: "multicast, broadcast, link-local and reserved addresses are no targets"}
	}
	return to, nil
}

// craftSource is the address and the first port that the segments leave from.
func craftSource(c *cli.Context, to netip.AddrPort) (netip.AddrPort, error) {
	addr, err := craftSourceAddress(c, to)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := c.Uint("from-port")
	if port > 65535 {
		return netip.AddrPort{}, usageError(fmt.Sprintf("--from-port %d is no port", port), "ports go from 1 to 65535")
	}
	if port != 0 {
		return netip.AddrPortFrom(addr, uint16(port)), nil
	}
	s, err := rawsock.Open(netip.AddrPortFrom(addr, 0), rawsock.Options{})
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer s.Close()
	return s.Local(), nil
}

func craftSourceAddress(c *cli.Context, to netip.AddrPort) (netip.Addr, error) {
	if text := c.String("from"); text != "" {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Unmap().Is4() != to.Addr().Is4() {
			return addr, usageError(fmt.Sprintf("--from %q is no address of the family of %v", text, to.Addr()), "give an address of this host, or leave the flag away")
		}
		return addr.Unmap(), nil
	}
	addr, err := routeSource(to)
	if err != nil {
		return addr, fmt.Errorf("find a route to %v: %w", to.Addr(), err)
	}
	return addr, nil
}
