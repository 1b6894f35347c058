package main

import (
	"errors"
	"fmt"

	"tcppunch/captures"
	"tcppunch/cmd/internal/punch"
	"tcppunch/cmd/internal/report"
)

// saveCapture writes a meeting's packets, each with a comment that says what it
// is, to a file that only its owner can read.
func saveCapture(path string, c *punch.Capture) (err error) {
	if c == nil {
		return fmt.Errorf("write %s: nothing was captured", path)
	}
	f, err := ownFile(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := captures.NewWriter(f, c.Interface)
	if err != nil {
		return err
	}
	decoder := captures.NewDecoder()
	for _, p := range c.Packets {
		if s, err := decoder.Decode(c.Interface.LinkType, p.Data); err == nil {
			p.Comments = append(p.Comments, fmt.Sprintf("%s from %s to %s", s.Kind, s.From, s.To))
		}
		if err := w.WritePacket(p); err != nil {
			return err
		}
	}
	return nil
}

// savePage writes the explained meeting as HTML.
func savePage(path string, outcome punch.Result) error {
	f, err := ownFile(path)
	if err != nil {
		return err
	}
	title := "tcppunch: meeting with " + outcome.Report.Peer
	return errors.Join(report.HTML(f, title, report.MeetingSections(outcome.Report, outcome.Handshake)...), f.Close())
}
