package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"tcppunch/rawsock"
	"tcppunch/timing"
)

func init() { classifiers = append(classifiers, classifyCraft) }

// craftKinds are the segments that have a name of their own. The last one's
// flags are given by --flags.
var craftKinds = []struct {
	name  string
	flags rawsock.Flags
	usage string
}{
	{"syn", rawsock.SYN, "open a connection"},
	{"syn-ack", rawsock.SYN | rawsock.ACK, "answer a SYN, also one that never arrived"},
	{"ack", rawsock.ACK, "acknowledge; where there is no connection it is answered by a reset"},
	{"rst", rawsock.RST, "reset"},
	{"rst-ack", rawsock.RST | rawsock.ACK, "reset in answer to a SYN"},
	{"fin", rawsock.FIN | rawsock.ACK, "close, with an acknowledgement as usual"},
	{"segment", 0, "any flags, by --flags"},
}

// Limits of `craft`, so that it stays a tool for looking: one target, few
// segments, slowly.
const (
	craftMaxCount   = 1000
	craftMinSpacing = time.Millisecond
)

func craftCommand() *cli.Command {
	description := "tcppunch craft KIND --to HOST:PORT [flags]\n\nThe kinds are:\n"
	c := &cli.Command{Name: "craft", Usage: "send crafted TCP segments and show what comes back", UsageText: "tcppunch craft KIND --to HOST:PORT [command options]"}
	for _, kind := range craftKinds {
		description += fmt.Sprintf("  %-8s  %s\n", kind.name, kind.usage)
		c.Subcommands = append(c.Subcommands, &cli.Command{
			Name: kind.name, Usage: kind.usage, Hidden: true, Flags: craftFlags(),
			Action: func(c *cli.Context) error { return craft(c, kind.name, kind.flags) },
		})
	}
	c.Description = description + "\nWithout --guard the kernel resets what a crafted SYN has opened, as it knows nothing of it.\n" +
		"At most 1000 segments are sent to one address, at most one a millisecond, from an address of this host.\n" +
		"It needs the capability CAP_NET_RAW."
	c.Flags = craftFlags() // for --help: the kinds share them
	return c
}

func craftFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "to", Usage: "the peer, `HOST:PORT`"},
		&cli.StringFlag{Name: "from", Usage: "source `ADDRESS`, one of this host's; by default that of the route"},
		&cli.UintFlag{Name: "from-port", Usage: "source `PORT`; by default a free one"},
		&cli.StringFlag{Name: "flags", Usage: "of the kind segment: `LIST` of fin, syn, rst, psh, ack, urg, ece, cwr, ns; or none"},
		&cli.Uint64Flag{Name: "seq", Usage: "sequence `NUMBER`; by default a random one"},
		&cli.Uint64Flag{Name: "ack", Usage: "acknowledgement `NUMBER`"},
		&cli.UintFlag{Name: "window", Usage: "receive window in `BYTES`, not scaled", Value: 64240},
		&cli.UintFlag{Name: "urgent", Usage: "urgent pointer, `N`"},
		&cli.StringFlag{Name: "options", Usage: "`LIST` such as mss=1460,sack,ts=1:0,nop,wscale=7,raw=HEX; a SYN has an MSS unless told otherwise"},
		&cli.StringFlag{Name: "payload", Usage: "`TEXT` after the header, or hex:DIGITS"},
		&cli.UintFlag{Name: "ttl", Usage: "hop limit, `N` of 1 to 255", Value: 64},
		&cli.UintFlag{Name: "tos", Usage: "type of service or traffic class, `N`"},
		&cli.UintFlag{Name: "id", Usage: "IPv4 identification, `N`; 0 lets the kernel choose"},
		&cli.BoolFlag{Name: "fragmentable", Usage: "let routers fragment it (IPv4: no DF)"},
		&cli.StringFlag{Name: "at", Usage: "`WHEN`: +1s, an RFC 3339 time, or Unix seconds; by default at once"},
		&cli.IntFlag{Name: "count", Usage: "how many, `N` up to 1000, each from the next source port", Value: 1},
		&cli.BoolFlag{Name: "same-port", Usage: "repeat one segment, source port and numbers included"},
		&cli.DurationFlag{Name: "spacing", Usage: "`TIME` between two, at least 1ms", Value: 10 * time.Millisecond},
		&cli.DurationFlag{Name: "timeout", Usage: "`TIME` to wait for replies after the last one", Value: time.Second},
		&cli.BoolFlag{Name: "guard", Usage: "keep the kernel from answering, and reset at the end"},
		jsonFlag(),
	}
}

func craft(c *cli.Context, kind string, flags rawsock.Flags) error {
	plan, err := craftPlanOf(c, kind, flags)
	if err != nil {
		return err
	}
	document, err := plan.run(c.Context)
	if err != nil {
		return err
	}
	if err := result(c, document, func(w io.Writer) error { return writeCraft(w, document) }); err != nil {
		return err
	}
	switch {
	case document.sentNone():
		return exitStatus(statusFailed)
	case document.Answered == 0 && plan.timeout > 0:
		return exitStatus(statusNo)
	}
	return nil
}

// craftPlan is what to send, and when.
type craftPlan struct {
	kind     string
	segments []rawsock.Segment
	at       timing.Instant // 0: at once
	wall     *time.Time
	spacing  time.Duration
	timeout  time.Duration
	guard    bool
}

// run sends the plan and gathers what comes back.
func (p *craftPlan) run(ctx context.Context) (*craftDocument, error) {
	first := p.segments[0]
	sender, err := rawsock.OpenSender(first.From.Addr(), rawsock.Options{})
	if err != nil {
		return nil, err
	}
	defer sender.Close()
	guards, err := p.openGuards()
	if err != nil {
		return nil, err
	}
	defer guards.close()
	tap, err := rawsock.OpenTap(rawsock.TapConfig{Interface: rawsock.AnyInterface, Host: first.To.Addr(), SnapLen: 2048})
	if err != nil {
		return nil, tapFailure(err)
	}
	defer tap.Close()
	heard := listenForReplies(tap, p.segments)
	defer heard.stop()
	at, launched, err := p.launch(ctx, sender)
	if err != nil {
		return nil, errors.Join(err, p.resetAll(sender, launched.Shots))
	}
	heard.forget(launched.Shots)
	if err := heard.wait(ctx, p.timeout); err != nil {
		return nil, errors.Join(err, p.resetAll(sender, launched.Shots))
	}
	catches, drops := heard.stop()
	document := explainCraft(p, launched.Shots, catches, time.Unix(0, wallAtZero()+int64(at)))
	document.Drops, document.LaunchStep = drops, launched.Reached.Step.String()
	return document, p.resetAll(sender, launched.Shots)
}

type craftGuards []*rawsock.Guard

func (g craftGuards) close() {
	for _, guard := range g {
		guard.Close()
	}
}

// openGuards guards each source port, or none.
func (p *craftPlan) openGuards() (list craftGuards, err error) {
	if !p.guard {
		return nil, nil
	}
	seen := map[netip.AddrPort]bool{}
	for _, s := range p.segments {
		if seen[s.From] {
			continue
		}
		seen[s.From] = true
		guard, err := rawsock.OpenGuard(s.From)
		if err != nil {
			list.close()
			return nil, err
		}
		list = append(list, guard)
	}
	return list, nil
}

// launch sends each segment as a volley of its own, so that each has its
// instant; the first one's is returned.
func (p *craftPlan) launch(ctx context.Context, sender *rawsock.Sender) (timing.Instant, rawsock.Launched, error) {
	shots := make([]rawsock.Shot, len(p.segments))
	for i, s := range p.segments {
		volley, err := sender.Load([]rawsock.Segment{s})
		if err != nil {
			return 0, rawsock.Launched{}, err
		}
		shots[i] = rawsock.Shot{Volley: volley, After: time.Duration(i) * p.spacing}
	}
	at := p.at
	if at == 0 {
		at = timing.Now().Add(craftPrepares)
	}
	launched, err := rawsock.Launch(ctx, int64(at), shots)
	return at, launched, err
}

// craftPrepares is how long a launch at once is prepared for.
const craftPrepares = 10 * time.Millisecond

// resetAll ends what guarded SYNs that have left may have opened at the peer: the
// kernel would have done it otherwise.
func (p *craftPlan) resetAll(sender *rawsock.Sender, fired []rawsock.Fired) error {
	if !p.guard {
		return nil
	}
	var errs []error
	for i, s := range p.segments {
		if !s.Flags.Has(rawsock.SYN) || i >= len(fired) || fired[i].Before == 0 || fired[i].Err != nil {
			continue
		}
		_, err := sender.Send(resetsOf(s)...)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// resetsOf are the resets of which a peer takes one, since it wants the very number
// that it expects (RFC 5961 section 3.2): that after the SYN, or that after the data
// that came with it.
func resetsOf(syn rawsock.Segment) []rawsock.Segment {
	alone := rawsock.Segment{From: syn.From, To: syn.To, Flags: rawsock.RST, Seq: syn.Seq + 1}
	if syn.Span() == 1 {
		return []rawsock.Segment{alone}
	}
	whole := alone
	whole.Seq = syn.Seq + syn.Span()
	return []rawsock.Segment{alone, whole}
}

func classifyCraft(err error) *failure {
	if errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, rawsock.ErrPortInUse) {
		return &failure{Status: statusRefused, Kind: "refused", Message: "the source is no address of this host: " + err.Error(),
			Hint: "give one of this host's own addresses with --from; others are not forged"}
	}
	return nil
}
