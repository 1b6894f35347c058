package report

import (
	"fmt"
	"time"

	"tcppunch/captures"
	"tcppunch/cmd/internal/punch"
)

// MeetingSections render a meeting for HTML: its outcome, what was measured,
// each attempt, and the handshake as one side captured it, where it did.
func MeetingSections(r punch.Report, shown *captures.Handshake) []Section {
	list := []Section{outcomeSection(r)}
	if shown != nil {
		list = append(list, HandshakeSection(*shown))
	}
	if len(r.Attempts) > 0 {
		list = append(list, attemptSection(r.Attempts))
	}
	return list
}

func outcomeSection(r punch.Report) Section {
	s := Section{Title: "Meeting with " + r.Peer, Badge: "connected", Good: r.Established, Text: []string{r.Explanation}}
	if r.Cause != nil {
		s.Badge = string(*r.Cause)
	}
	s.Table = append(s.Table, [2]string{"peer's key", orDash(string(r.PeerKey))})
	for _, row := range []struct {
		name  string
		value *time.Duration
	}{
		{"established after", r.EstablishedAfter},
		{"authenticated after", r.AuthenticatedAfter},
		{"round trip", r.RTT},
		{"first SYN after the instant", r.LaunchError},
		{"peer's clock differs", r.Skew},
		{"known within ±", r.SkewBound},
	} {
		if row.value != nil {
			s.Table = append(s.Table, [2]string{row.name, row.value.Round(time.Microsecond).String()})
		}
	}
	s.Table = append(s.Table, [2]string{"SYNs on the wire", fmt.Sprint(r.SYNsOnWire)})
	for _, refusal := range r.Refusals {
		s.List = append(s.List, Item{Text: refusal, Source: "policy"})
	}
	return s
}

func attemptSection(attempts []punch.Attempt) Section {
	s := Section{Title: "Attempts", Badge: fmt.Sprint(len(attempts)), Good: true}
	for _, a := range attempts {
		s.Table = append(s.Table, [2]string{
			fmt.Sprintf("round %d, %s after the instant", a.Round, a.Called.Round(time.Microsecond)),
			fmt.Sprintf("%s → %s: %s after %s", a.Local, a.Remote, a.Outcome, (a.Ended - a.Called).Round(time.Microsecond)),
		})
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
