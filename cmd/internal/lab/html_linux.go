package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"tcppunch/cmd/internal/report"
)

// writeHTML makes a page of the same story: what was arranged, what happened,
// and what the boxes say of it.
func (s *story) writeHTML(path string) (err error) {
	sections := []report.Section{s.arrangement()}
	if h := s.capture.handshake; h != nil {
		sections = append(sections, report.HandshakeSection(*h))
	}
	sections = append(sections, s.boxes())
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return report.HTML(f, "tcppunch lab: "+s.config.A.Name+" × "+s.config.B.Name, sections...)
}

func (s *story) arrangement() report.Section {
	badge := "not connected: " + word(s.trial.Cause)
	if s.trial.Established {
		badge = "connected"
	}
	return report.Section{
		Title: "A meeting behind two Linux NATs", Badge: badge, Good: s.trial.Established,
		Text: []string{fmt.Sprintf("Two clients with wrong clocks behind two real netfilter NATs, %v one way between any two hosts.", s.config.Delay)},
		Table: [][2]string{
			{"clock of a", clockRow(s.config.SkewA, s.a.Clock)},
			{"clock of b", clockRow(s.config.SkewB, s.b.Clock)},
			{"first SYN of a against the agreed instant", lateness(s.a.LaunchError)},
			{"first SYN of b against the agreed instant", lateness(s.b.LaunchError)},
			{"b's SYN minus a's, seen by the core", lateness(s.trial.Skew)},
			{"TCP established after the instant", brief(s.trial.EstablishedAfter)},
			{"both keys proven after the instant", brief(s.trial.AuthenticatedAfter)},
			{"SYNs on the wire, a and b", count64(s.trial.SYNsA) + " and " + count64(s.trial.SYNsB)},
		},
	}
}

func clockRow(truth time.Duration, c *clockState) string {
	if c == nil {
		return fmt.Sprintf("wrong by %s, not measured", signed(truth))
	}
	return fmt.Sprintf("wrong by %s, found %s ± %v", signed(truth), signed(micro(-time.Duration(c.Offset))), micro(time.Duration(c.Bound)))
}

func count64(n *int64) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}

func (s *story) boxes() report.Section {
	section := report.Section{Title: "The NATs' own tables", Text: []string{"From the kernel's connection tracking events."}}
	for _, side := range []struct {
		box  string
		peer site
	}{{"nat-a", siteB}, {"nat-b", siteA}} {
		for _, m := range mappingsTowards(s.trial.Mappings, side.box, side.peer.wan) {
			section.Table = append(section.Table, [2]string{
				fmt.Sprintf("%s: %s → %s, towards %s", m.Box, m.Inside, m.Outside, m.Peer),
				strings.Join(statesOf(s.trial.Mappings, m), ", ")})
		}
	}
	return section
}
