package lab

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tcppunch/cmd/internal/report"
)

// picture shows the network of the demonstration.
func picture(c Config) string {
	core := fmt.Sprintf("%v one way", c.Delay)
	if c.Delay == 0 {
		core = "plain wires"
	}
	return fmt.Sprintf(`Two clients, two real Linux NATs (nftables: masquerade, and what nobody asked for
is dropped) and an internet between them (%s between any two hosts),
each in a network namespace of its own on this machine:

  client a ------ NAT a ----------- internet ----------- NAT b ------ client b
  %-15s %-16s |     |         %-14s %s
                                   |     +-- time server %s
                                   +-- coordinator %s

`, core, host(siteA.lan, 2).Addr(), siteA.wan, siteB.wan, host(siteB.lan, 2).Addr(), timeServer4, coordinator4)
}

// tell says what happened, in the order in which it did.
func (s story) tell(out io.Writer) error {
	w := &strings.Builder{}
	s.tellClocks(w)
	s.tellAgreement(w)
	s.tellLaunch(w)
	if err := s.tellExchange(w); err != nil {
		return err
	}
	s.tellMappings(w)
	s.tellOutcome(w)
	s.tellFiles(w)
	_, err := io.WriteString(out, w.String())
	return err
}

func (s story) tellClocks(w io.Writer) {
	fmt.Fprintln(w, "1. Clocks. Each client's clock was made wrong; each asks the time server and the coordinator.")
	s.tellClock(w, "a", s.config.SkewA, s.a.Clock)
	s.tellClock(w, "b", s.config.SkewB, s.b.Clock)
	fmt.Fprintln(w)
}

// tellClock compares what a client found with the truth. What it found is
// reference minus local, so the clock is wrong by its negative.
func (s story) tellClock(w io.Writer, name string, truth time.Duration, c *clockState) {
	if c == nil {
		fmt.Fprintf(w, "   %s is wrong by %s and does not know it\n", name, signed(truth))
		return
	}
	found, bound := -time.Duration(c.Offset), time.Duration(c.Bound)
	verdict := "the truth lies inside"
	if (found - truth).Abs() > bound {
		verdict = "THE TRUTH LIES OUTSIDE"
	}
	fmt.Fprintf(w, "   %s is wrong by %s; it found %s ± %v, off by %v: %s\n",
		name, signed(truth), signed(micro(found)), micro(bound), micro((found - truth).Abs()), verdict)
}

func (s story) tellAgreement(w io.Writer) {
	if s.a.At == nil {
		fmt.Fprintf(w, "2. Agreement. There was none.\n\n")
		return
	}
	fmt.Fprintf(w, "2. Agreement. Both launch at %s of the common time", s.a.At.UTC().Format("15:04:05.000000"))
	if s.a.Skew != nil && s.a.SkewBound != nil {
		truth := s.config.SkewB - s.config.SkewA
		fmt.Fprintf(w, "; a reckons that b's clock is %s ± %v\n   from its own (truly %s)", signed(micro(time.Duration(*s.a.Skew))), micro(time.Duration(*s.a.SkewBound)), signed(truth))
	}
	fmt.Fprintf(w, ".\n   a: %s, seen outside as %s; b: %s, seen outside as %s.\n\n", word(s.a.Local), word(s.a.Reflexive), word(s.b.Local), word(s.b.Reflexive))
}

func (s story) tellLaunch(w io.Writer) {
	fmt.Fprintf(w, "3. Launch. First SYN against the agreed instant: a %s, b %s, by each one's own clock and capture.\n", lateness(s.a.LaunchError), lateness(s.b.LaunchError))
	if s.trial.Skew != nil {
		skew := time.Duration(*s.trial.Skew)
		first, second := "a", "b"
		if skew < 0 {
			first, second = second, first
		}
		fmt.Fprintf(w, "   In truth %s's SYN entered the internet %v before %s's; each was %v on the way.\n", first, micro(skew.Abs()), second, s.config.Delay)
	}
	fmt.Fprintln(w)
}

func (s story) tellExchange(w io.Writer) error {
	fmt.Fprintf(w, "4. The exchange, seen from four places by one clock:\n\n")
	if s.capture.handshake == nil {
		fmt.Fprintf(w, "   no exchange was captured\n\n")
		return nil
	}
	if err := report.Ladder(w, *s.capture.handshake, report.LadderOptions{Width: 100}); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

// first is the client that the ladder calls A.
func (s story) tellMappings(w io.Writer) {
	fmt.Fprintln(w, "5. The NATs' own tables (conntrack):")
	s.tellBox(w, "nat-a", siteB)
	s.tellBox(w, "nat-b", siteA)
	fmt.Fprintln(w)
}

func (s story) tellBox(w io.Writer, box string, peer site) {
	list := mappingsTowards(s.trial.Mappings, box, peer.wan)
	if len(list) == 0 {
		fmt.Fprintf(w, "   %s  has no mapping towards %s\n", box, peer.wan)
	}
	for _, m := range list {
		fmt.Fprintf(w, "   %s  %s is %s outside, towards %s: %s\n", box, m.Inside, m.Outside, m.Peer, strings.Join(statesOf(s.trial.Mappings, m), ", "))
	}
}

func (s story) tellOutcome(w io.Writer) {
	t := s.trial
	if !t.Established {
		fmt.Fprintf(w, "6. Not connected. Cause: %s.\n", word(t.Cause))
		return
	}
	fmt.Fprintf(w, "6. Connected: %s. TCP stood %s after the instant, and both had proven their keys %s after it;\n   a round trip is %v.\n",
		word(t.Verdict), brief(t.EstablishedAfter), brief(t.AuthenticatedAfter), 2*s.config.Delay)
}

func (s story) tellFiles(w io.Writer) {
	if s.files.Write != "" {
		fmt.Fprintf(w, "\nThe packets, with a comment on each: %s (Wireshark and tshark read it; 'tcppunch analyze %s' explains it)\n", s.files.Write, s.files.Write)
	}
	if s.files.HTML != "" {
		fmt.Fprintf(w, "The report: %s\n", s.files.HTML)
	}
}

// statesOf are the states that a connection went through in a box's table.
func statesOf(events []Mapping, m Mapping) []string {
	var list []string
	for _, e := range events {
		if e.Box == m.Box && e.Inside == m.Inside && e.Peer == m.Peer && e.State != "" && (len(list) == 0 || list[len(list)-1] != e.State) {
			list = append(list, e.State)
		}
	}
	return list
}

func signed(d time.Duration) string {
	if d < 0 {
		return "−" + (-d).String()
	}
	return "+" + d.String()
}

func micro(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

func brief(ns *int64) string {
	if ns == nil {
		return "unknown"
	}
	return micro(time.Duration(*ns)).String()
}

// lateness is told to a tenth of a microsecond, and less than 0 for early.
func lateness(ns *int64) string {
	if ns == nil {
		return "unknown"
	}
	return signed(time.Duration(*ns).Round(100 * time.Nanosecond))
}

func word(s *string) string {
	if s == nil {
		return "unknown"
	}
	return *s
}
