package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// demonstrations is how often the demonstration is held at the most, where this
// machine was too slow for it.
const demonstrations = 3

// Demonstrate runs the demonstration and tells it, step by step, on out. It
// must be called in the supervisor. The document is that of one trial.
func Demonstrate(ctx context.Context, d Demonstration, out io.Writer) (Document, error) {
	config, err := d.config()
	if err != nil {
		return Document{}, err
	}
	fmt.Fprint(out, picture(config))
	var document Document
	for range demonstrations {
		story, err := d.act(ctx, config)
		if err != nil {
			return document, err
		}
		document = describe(config, [][]Trial{append(document.Trials, story.trial)})
		if reason := story.tooSlow(); reason != "" && len(document.Trials) < demonstrations {
			fmt.Fprintf(out, "%s: once more.\n\n", reason)
			continue
		}
		if err := d.keep(&story); err != nil {
			return document, err
		}
		return document, story.tell(out)
	}
	return document, nil
}

func (d Demonstration) config() (Config, error) {
	linux, err := ParseProfile("linux")
	return Config{A: linux, B: linux, Delay: d.Delay, SkewA: d.SkewA, SkewB: d.SkewB, Retries: -1}, err
}

// story is everything there is to tell of one meeting.
type story struct {
	config  Config
	files   Demonstration
	trial   Trial
	a, b    meetDocument
	capture capture
}

// tooSlow is why the meeting does not show what it is meant to; "" if it does.
func (s *story) tooSlow() string {
	t := &s.trial
	switch {
	case !t.Valid:
		return *t.InvalidReason
	case t.Crossing != nil && !*t.Crossing && t.Skew != nil:
		return fmt.Sprintf("the SYNs missed each other, since this machine launched them %v apart", time.Duration(*t.Skew).Abs())
	}
	return ""
}

// vantages are the places where the exchange is captured, from A to B. The
// clients capture themselves; on the boxes a node of its own does.
var vantages = []struct{ file, name, node, link string }{
	{"a.pcapng", "client a", "a", ""},
	{"nat-a.pcapng", "NAT a outside", "nat-a", "wan"},
	{"nat-b.pcapng", "NAT b outside", "nat-b", "wan"},
	{"b.pcapng", "client b", "b", ""},
}

// act runs one meeting with captures on both boxes.
func (d Demonstration) act(ctx context.Context, config Config) (story, error) {
	s := story{config: config, files: d}
	err := withCell(ctx, config, "", func(c *cell) error {
		t, err := c.newTrial(ctx)
		if err != nil {
			return err
		}
		defer t.close()
		stop, err := t.captureBoxes(ctx)
		if err != nil {
			return err
		}
		if s.trial, err = t.meet(ctx); err != nil {
			return err
		}
		stop()
		if err := errors.Join(json.Unmarshal(s.trial.MeetA, &s.a), json.Unmarshal(s.trial.MeetB, &s.b)); err != nil {
			return fmt.Errorf("read the meeting's reports: %w", err)
		}
		s.capture, err = mergeCaptures(t)
		return err
	})
	return s, err
}

// captureBoxes starts `tcppunch capture` on the outside of both boxes, and
// waits until it listens: it then has written the head of its file.
func (t *trial) captureBoxes(ctx context.Context) (stop func(), err error) {
	var list []*process
	for _, v := range vantages {
		if v.link == "" {
			continue
		}
		p, err := t.network.start(v.node, "capture", "--interface", v.link, "--write", t.file(v.file))
		if err != nil {
			return nil, err
		}
		t.nodes.add(p)
		list = append(list, p)
		if err := awaitFile(ctx, p, t.file(v.file)); err != nil {
			return nil, err
		}
	}
	return func() {
		for _, p := range list {
			p.interrupt(shutdown)
		}
	}, nil
}

func awaitFile(ctx context.Context, p *process, path string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return p.crash("ended before it captured")
		case <-ctx.Done():
			p.kill()
			return p.crash("did not capture in time")
		}
	}
}

// keep writes the files that were asked for.
func (d Demonstration) keep(s *story) error {
	if d.Write != "" {
		if err := s.capture.write(d.Write); err != nil {
			return err
		}
	}
	if d.HTML != "" {
		return s.writeHTML(d.HTML)
	}
	return nil
}
