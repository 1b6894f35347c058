package captures

import (
	"fmt"
	"strings"
	"time"
)

// evidence says in sentences, each with its packet, what the verdict rests on
// and what it leaves open.
func (f *facts) evidence(h Handshake) []Evidence {
	var e evidenceList
	f.tellAttempts(&e, h)
	switch h.Verdict {
	case VerdictSimultaneousOpen:
		f.tellSimultaneous(&e)
	case VerdictLateCrossing:
		f.tellLate(&e, h)
	case VerdictSplitHandshake:
		f.tellSplit(&e)
	case VerdictThreeWay:
		f.tellThreeWay(&e)
	case VerdictRefused, VerdictICMPRejected:
		f.tellRejected(&e, h)
	case VerdictUnanswered:
		f.tellUnanswered(&e, h)
	case VerdictOneSided:
		e.add(f.segments[0], "Only one direction was captured; what it acknowledges shows that the other existed.")
	default:
		e.add(f.segments[len(f.segments)-1], "The capture ends, or lacks packets, before it is seen how the opening ended: the last of it is this %s.", label(f.segments[len(f.segments)-1].Kind))
	}
	f.tellEstablished(&e, h)
	for _, n := range h.NAT {
		shown := f.segments[0]
		if f.has(f.syn, n.Side) {
			shown = f.segments[f.syn[n.Side]]
		}
		e.add(shown, "Between two vantage points %s's %s is rewritten: %s inside, %s outside.", name(n.Side), strings.Join(n.Rewrites, " and "), n.Inside, n.Outside)
	}
	return e
}

type evidenceList []Evidence

func (e *evidenceList) add(x flight, format string, args ...any) {
	*e = append(*e, Evidence{Text: fmt.Sprintf(format, args...), File: x.File, Packet: x.Packet})
}

func name(s Side) string { return strings.ToUpper(s.String()) }

func label(k Kind) string { return strings.ToUpper(k.String()) }

func (f *facts) tellAttempts(e *evidenceList, h Handshake) {
	if n := max(h.AttemptsA, h.AttemptsB); n > 1 {
		e.add(f.segments[0], "There were %d attempts on these ports (A used %d sequence numbers, B %d); the verdict is of the last that counted.", n, h.AttemptsA, h.AttemptsB)
	}
}

func (f *facts) tellSyns(e *evidenceList) {
	for _, side := range []Side{SideA, SideB} {
		if i := f.syn[side]; i >= 0 {
			e.add(f.segments[i], "%s sent a SYN with sequence number %d that acknowledges nothing.", name(side), f.isn[side])
		}
	}
}

func (f *facts) tellSimultaneous(e *evidenceList) {
	f.tellSyns(e)
	for _, side := range []Side{SideA, SideB} {
		e.add(f.segments[f.synAck[side]], "%s answered %s's SYN with a SYN-ACK that repeats its own SYN's number: %[1]s's SYN had left before %[2]s's arrived.",
			name(side), name(side.Other()))
	}
}

func (f *facts) tellLate(e *evidenceList, h Handshake) {
	f.tellSyns(e)
	early := SideA
	if f.synAck[early] < 0 {
		early = SideB
	}
	late := early.Other()
	e.add(f.segments[f.synAck[early]], "%s answered %s's SYN with a SYN-ACK that repeats its own SYN's number: it was waiting in SYN-SENT.", name(early), name(late))
	e.add(f.segments[f.ack[late]], "%s acknowledged and never sent a SYN-ACK: %s's SYN did not reach %[1]s's socket, it came too early or was dropped. Seen from behind %[1]s's NAT this may look like a three-way handshake.", name(late), name(early))
	if m := h.CrossingMargin; m != nil && *m < 0 {
		e.add(f.segments[f.syn[late]], "%s's SYN left %v after %s's had arrived.", name(late), round(-*m), name(early))
	}
}

func (f *facts) tellSplit(e *evidenceList) {
	for _, side := range []Side{SideA, SideB} {
		if i := f.early[side]; i >= 0 && f.syn[side] >= 0 {
			e.add(f.segments[i], "%s acknowledged %s's SYN before it sent a SYN of its own.", name(side), name(side.Other()))
			e.add(f.segments[f.syn[side]], "%s's SYN came afterwards: the answer of a listener in two steps.", name(side))
		}
	}
}

func (f *facts) tellThreeWay(e *evidenceList) {
	opener := SideA
	if f.syn[opener] < 0 {
		opener = SideB
	}
	e.add(f.segments[f.syn[opener]], "%s sent a SYN with sequence number %d.", name(opener), f.isn[opener])
	e.add(f.segments[f.synAck[opener.Other()]], "%s answered with a SYN-ACK, and no SYN of %[1]s without ACK was seen.", name(opener.Other()))
	e.add(f.segments[f.ack[opener]], "%s acknowledged it. If %[2]s had opened too, and its SYN was dropped before this place, it would look the same here.", name(opener), name(opener.Other()))
}

func (f *facts) tellRejected(e *evidenceList, h Handshake) {
	f.tellSyns(e)
	for _, side := range []Side{SideA, SideB} {
		if i := f.icmp[side]; i >= 0 {
			x := f.segments[i]
			e.add(x, "%s reported about %s's SYN: %s (ICMP type %d, code %d).", x.Reporter, name(side), icmpMeaning(x.Segment), x.ICMPType, x.ICMPCode)
		}
		if i := f.rst[side]; i >= 0 {
			asked := KindSyn
			if f.syn[side.Other()] < 0 {
				asked = KindSynAck
			}
			e.add(f.segments[i], "A %s in %s's name answered %s's %s.", label(f.segments[i].Kind), name(side), name(side.Other()), label(asked))
		}
	}
	if h.Reset != nil && h.Reset.By == "path" {
		e.add(f.segments[max(f.rst[SideA], f.rst[SideB])], "It does not look like the other segments in that name: a box on the path may have sent it.")
	}
}

func (f *facts) tellUnanswered(e *evidenceList, h Handshake) {
	f.tellSyns(e)
	last := f.segments[len(f.segments)-1]
	if h.SynsB > 0 {
		e.add(last, "Both sides sent SYNs (A %d, B %d), and neither was answered: none arrived, as far as this shows.", h.SynsA, h.SynsB)
		return
	}
	if last.Kind.isRst() && last.side == SideA {
		e.add(last, "Nothing came back, and A itself gave up with a %s.", label(last.Kind))
		return
	}
	if h.SynsA <= 1 {
		e.add(last, "Nothing came back to this one SYN while the capture went on.")
		return
	}
	e.add(last, "Nothing came back to any of %d SYNs in %v.", h.SynsA, round(last.Time.Sub(f.segments[0].Time)))
}

func (f *facts) tellEstablished(e *evidenceList, h Handshake) {
	if h.Established == nil {
		return
	}
	a, b := f.ack[SideA], f.ack[SideB]
	switch {
	case *h.Established && a >= 0 && b >= 0:
		for _, i := range []int{a, b} {
			x := f.segments[i]
			e.add(x, "Established on %s's side: its %s acknowledges %s's SYN without being a SYN.", name(x.side), label(x.Kind), name(x.side.Other()))
		}
	case *h.Established:
		e.add(f.segments[max(a, b)], "Established as far as is seen: every segment of the opening is here, and nothing later contradicts it.")
	}
}

func round(d time.Duration) time.Duration {
	switch {
	case d.Abs() >= time.Second:
		return d.Round(time.Millisecond)
	case d.Abs() >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d
}

// icmpMeaning names the codes of RFC 792, RFC 1812 and RFC 4443 that answer SYNs.
func icmpMeaning(s Segment) string {
	type code struct {
		six       bool
		kind, num uint8
	}
	meaning := map[code]string{
		{false, 3, 0}: "network unreachable", {false, 3, 1}: "host unreachable", {false, 3, 2}: "protocol unreachable",
		{false, 3, 3}: "port unreachable", {false, 3, 9}: "network administratively prohibited",
		{false, 3, 10}: "host administratively prohibited", {false, 3, 13}: "communication administratively prohibited",
		{false, 11, 0}: "time to live exceeded in transit",
		{true, 1, 0}:   "no route", {true, 1, 1}: "communication administratively prohibited", {true, 1, 3}: "address unreachable",
		{true, 1, 4}: "port unreachable", {true, 1, 5}: "source address failed policy", {true, 1, 6}: "reject route",
		{true, 3, 0}: "hop limit exceeded in transit",
	}
	if text, ok := meaning[code{s.Reporter.Is6(), s.ICMPType, s.ICMPCode}]; ok {
		return text
	}
	return s.Kind.String()
}
