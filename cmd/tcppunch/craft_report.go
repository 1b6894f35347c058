package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"tcppunch/rawsock"
)

// craftDocument is the document of `craft --json`.
type craftDocument struct {
	Kind          string         `json:"kind"`
	To            netip.AddrPort `json:"to"`
	Guarded       bool           `json:"guarded"`
	At            *time.Time     `json:"at"`              // that was asked for; null for at once
	LaunchErrorNS *int64         `json:"launch_error_ns"` // first segment on the wire minus the instant
	LaunchStep    string         `json:"launch_step"`
	Sent          []craftSent    `json:"sent"`
	Answered      int            `json:"answered"`  // segments with a reply
	Unmatched     []craftReply   `json:"unmatched"` // of the peer's address, but to none of these segments
	Drops         uint64         `json:"drops"`     // lost because the ring was full
}

// craftHeader is what is shown of a segment.
type craftHeader struct {
	From    netip.AddrPort     `json:"from"`
	Flags   rawsock.Flags      `json:"flags"`
	Seq     uint32             `json:"seq"`
	Ack     uint32             `json:"ack"`
	Window  uint16             `json:"window"`
	TTL     uint8              `json:"ttl"`
	Options rawsock.TCPOptions `json:"options"`
	Payload int                `json:"payload_bytes"`
}

type craftSent struct {
	craftHeader
	WireNS  *int64       `json:"on_wire_after_ns"` // since the instant, by the kernel's stamp; null where it was not seen
	Error   *string      `json:"error"`
	Replies []craftReply `json:"replies"`
	stamp   time.Time
}

type craftReply struct {
	Kind    string      `json:"kind"`
	Fit     rawsock.Fit `json:"fit"`
	AfterNS *int64      `json:"after_ns"` // since the segment was on the wire
	craftHeader
	ICMP *craftICMP `json:"icmp"`
}

type craftICMP struct {
	From netip.Addr `json:"from"`
	Type uint8      `json:"type"`
	Code uint8      `json:"code"`
	Text string     `json:"text"`
}

func headerOf(s rawsock.Segment) craftHeader {
	return craftHeader{From: s.From, Flags: s.Flags, Seq: s.Seq, Ack: s.Ack, Window: s.Window, TTL: s.TTL, Options: s.Options, Payload: len(s.Payload)}
}

// explainCraft puts each packet under the segment that it is or answers. wall is
// what the wall clock said at the instant of the launch.
func explainCraft(p *craftPlan, fired []rawsock.Fired, catches []craftCatch, wall time.Time) *craftDocument {
	d := &craftDocument{Kind: p.kind, To: p.segments[0].To, Guarded: p.guard, At: p.wall, Unmatched: []craftReply{}}
	for i, s := range p.segments {
		sent := craftSent{craftHeader: headerOf(s), Replies: []craftReply{}}
		if err := fired[i].Err; err != nil {
			sent.Error = new(err.Error())
		}
		d.Sent = append(d.Sent, sent)
	}
	for _, c := range catches {
		if i := d.ours(p.segments, c); i >= 0 {
			d.Sent[i].stamp = c.at
			d.Sent[i].WireNS = new(c.at.Sub(wall).Nanoseconds())
			continue
		}
		d.book(p.segments, c)
	}
	d.LaunchErrorNS = d.Sent[0].WireNS
	for _, s := range d.Sent {
		if len(s.Replies) > 0 {
			d.Answered++
		}
	}
	return d
}

// sentNone says that the system let no segment leave.
func (d *craftDocument) sentNone() bool {
	return !slices.ContainsFunc(d.Sent, func(s craftSent) bool { return s.Error == nil })
}

// ours finds the segment that left here, of equal ones the first that has not
// been seen; −1 for none.
func (d *craftDocument) ours(segments []rawsock.Segment, c craftCatch) int {
	got := c.reply.Segment
	for i, s := range segments {
		same := got.From == s.From && got.To == s.To && got.Seq == s.Seq && got.Ack == s.Ack && got.Flags == s.Flags
		if c.reply.ICMP == nil && same && d.Sent[i].stamp.IsZero() {
			return i
		}
	}
	return -1
}

// book puts a packet under the segment that it fits best, of equal ones the last
// that had left. What this host's kernel sends is left out.
func (d *craftDocument) book(segments []rawsock.Segment, c craftCatch) {
	best, fit := -1, rawsock.FitNone
	for i, s := range segments {
		if f := c.reply.Fits(s); f > fit || f == fit && f != rawsock.FitNone && !d.Sent[i].stamp.IsZero() {
			best, fit = i, f
		}
	}
	if best < 0 {
		got := c.reply.Segment
		if c.reply.ICMP == nil && got.From.Addr() == d.To.Addr() && got.To.Addr() == segments[0].From.Addr() && got.From.Addr() != got.To.Addr() {
			d.Unmatched = append(d.Unmatched, replyOf(c.reply, fit, nil))
		}
		return
	}
	sent := &d.Sent[best]
	var after *int64
	if !sent.stamp.IsZero() {
		after = new(c.at.Sub(sent.stamp).Nanoseconds())
	}
	sent.Replies = append(sent.Replies, replyOf(c.reply, fit, after))
}

func replyOf(r rawsock.Reply, fit rawsock.Fit, after *int64) craftReply {
	reply := craftReply{Kind: r.Kind(), Fit: fit, AfterNS: after, craftHeader: headerOf(r.Segment)}
	if e := r.ICMP; e != nil {
		reply.ICMP = &craftICMP{From: e.From, Type: e.Type, Code: e.Code, Text: e.String()}
	}
	return reply
}

func writeCraft(w io.Writer, d *craftDocument) error {
	for _, s := range d.Sent {
		fmt.Fprintf(w, "sent  %s  %v → %v  %s\n", describeSegment(s.craftHeader), s.From, d.To, s.when())
		for _, r := range s.Replies {
			fmt.Fprintf(w, "  ←   %s\n", r.line())
		}
		if len(s.Replies) == 0 && s.Error == nil {
			fmt.Fprintln(w, "  nothing came back")
		}
	}
	if len(d.Unmatched) > 0 {
		fmt.Fprintln(w, "from the same host, to none of these:")
	}
	for _, r := range d.Unmatched {
		fmt.Fprintf(w, "  ←   %s  from %v\n", r.line(), r.From)
	}
	_, err := fmt.Fprintf(w, "%d of %d answered\n", d.Answered, len(d.Sent))
	return err
}

func (s craftSent) when() string {
	switch {
	case s.Error != nil:
		return "not sent: " + *s.Error
	case s.WireNS == nil:
		return "not seen on the wire"
	}
	return "on the wire at " + briefTime(s.WireNS)
}

func (r craftReply) line() string {
	text := describeSegment(r.craftHeader)
	if r.ICMP != nil {
		text = r.ICMP.Text
	}
	if r.Fit == rawsock.FitFlow {
		text += "  (by its numbers not in answer to this)"
	}
	if r.AfterNS != nil {
		text += "  after " + briefTime(r.AfterNS)
	}
	return text
}

// describeSegment is a header on one line.
func describeSegment(h craftHeader) string {
	text := fmt.Sprintf("%s seq %d", rawsock.Segment{Flags: h.Flags}.Kind(), h.Seq)
	if h.Flags.Has(rawsock.ACK) {
		text += fmt.Sprintf(" ack %d", h.Ack)
	}
	text += fmt.Sprintf(" win %d ttl %d", h.Window, h.TTL)
	if len(h.Options) > 0 {
		text += " <" + h.Options.String() + ">"
	}
	if h.Payload > 0 {
		text += fmt.Sprintf(" %d bytes", h.Payload)
	}
	return text
}
