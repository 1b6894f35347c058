package captures

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// evidence says in sentences, each with its packet, what the verdict rests on
// and what it leaves open.
func (f *facts) evidence(h Handshake, changes []translation) []Evidence {
	var e evidenceList
	f.tellAttempts(&e, h)
	if f.isSelf() {
		e.add(f.segments[0], "Both ends are %s: a socket connected to itself.", f.segments[0].From)
	}
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
		f.tellRejected(&e, h.Verdict)
	case VerdictUnanswered:
		f.tellUnanswered(&e, h)
	case VerdictOneSided:
		e.add(f.segments[0], "Only one direction was captured; what it acknowledges shows that the other existed.")
	default:
		f.tellIncomplete(&e, h)
	}
	f.tellEstablished(&e, h)
	f.tellCadence(&e, h)
	f.tellChanges(&e, h, changes)
	return e
}

type evidenceList []Evidence

func (e *evidenceList) add(x flight, format string, args ...any) {
	*e = append(*e, Evidence{Text: fmt.Sprintf(format, args...), File: x.File, Packet: x.Packet})
}

func (e *evidenceList) at(x sighting, format string, args ...any) {
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
		if answer, ok := f.foreknown(side); ok {
			e.at(answer, "%s's SYN-ACK, which repeats its own SYN's number, left %[1]s's host before any such SYN of %s's had come there: it is crafted by a program that was told the number, or the capture lacks that SYN.", name(side), name(side.Other()))
			continue
		}
		e.add(f.segments[f.synAck[side]], "%s answered %s's SYN with a SYN-ACK that repeats its own SYN's number: %[1]s's SYN had left before %[2]s's arrived.",
			name(side), name(side.Other()))
	}
}

// foreknown is a side's SYN-ACK on its host, where a SYN arrives before it is
// answered, if none had come: somebody told a program the number.
func (f *facts) foreknown(side Side) (sighting, bool) {
	peer, home := side.Other(), f.end(side)
	answer, ok := f.segments[f.synAck[side]].at(home)
	if !ok || !f.atHome(side) || f.isSelf() {
		return answer, false
	}
	for _, x := range f.segments {
		asked, ok := x.at(home)
		if ok && x.Kind == KindSyn && x.side == peer && x.Seq == f.isn[peer] && (asked.Packet < answer.Packet || asked.File != answer.File) {
			return answer, false
		}
	}
	return answer, true
}

func (f *facts) tellLate(e *evidenceList, h Handshake) {
	f.tellSyns(e)
	late := f.lateSide()
	early := late.Other()
	e.add(f.segments[f.synAck[early]], "%s answered %s's SYN with a SYN-ACK that repeats its own SYN's number: it was waiting in SYN-SENT.", name(early), name(late))
	e.add(f.segments[f.ack[late]], "%s acknowledged and never sent a SYN-ACK: %s's SYN did not reach %[1]s's socket, it came too early or was dropped.", name(late), name(early))
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
	e.add(f.segments[f.ack[opener]], "%s acknowledged it.", name(opener))
}

func (f *facts) tellIncomplete(e *evidenceList, h Handshake) {
	if h.Established != nil {
		e.add(f.segments[0], "Too much of the opening is missing to tell how it went: the first of it is this %s.", label(f.segments[0].Kind))
		return
	}
	last := f.segments[len(f.segments)-1]
	e.add(last, "The capture ends, or lacks packets, before it is seen how the opening ended: the last of it is this %s.", label(last.Kind))
}

func (f *facts) tellRejected(e *evidenceList, v Verdict) {
	f.tellSyns(e)
	for _, side := range []Side{SideA, SideB} {
		if i := f.icmp[side]; i >= 0 {
			x := f.segments[i]
			e.add(x, "%s reported about %s's SYN: %s (ICMP type %d, code %d).", x.Reporter, name(side), icmpMeaning(x.Segment), x.ICMPType, x.ICMPCode)
			if again := f.repeatedAfter(i); again >= 0 {
				e.add(f.segments[again], "%s sent a %s with the same number afterwards: the error did not end its attempt.", name(side), label(f.segments[again].Kind))
			}
		}
		if i := f.rst[side]; i >= 0 {
			f.tellReset(e, side, i)
		}
	}
	r := f.rejection(v)
	if r == nil {
		return
	}
	switch m, syn, ok := r.afterSyn(); {
	case ok && m < 0:
		e.add(f.segments[f.syn[r.refuser]], "%s's SYN left that side %v after %s's had been turned away there.", name(r.refuser), round(-m), name(r.refuser.Other()))
	case ok:
		*e = append(*e, Evidence{fmt.Sprintf("%s's SYN had passed %v before %s's was turned away: the SYNs crossed, and were refused all the same.", name(r.refuser), round(m), name(r.refuser.Other())), syn.File, syn.Packet})
	}
}

// tellReset: a RST of an end that had sent a SYN-ACK takes that back.
func (f *facts) tellReset(e *evidenceList, side Side, reset int) {
	x, asked := f.segments[reset], KindSyn
	if f.syn[side.Other()] < 0 {
		asked = KindSynAck
	}
	if i := f.synAck[side]; i >= 0 && i < reset {
		e.add(f.segments[i], "%s answered %s's SYN with a SYN-ACK first.", name(side), name(side.Other()))
		e.add(x, "A %s in %s's name took that back.", label(x.Kind), name(side))
		return
	}
	e.add(x, "A %s in %s's name answered %s's %s.", label(x.Kind), name(side), name(side.Other()), label(asked))
}

func (f *facts) tellCadence(e *evidenceList, h Handshake) {
	for _, c := range h.Cadence {
		var text string
		switch {
		case c.Kind == "connect-loop" && len(c.Gaps) == 0:
			text = fmt.Sprintf("%s's SYNs have a new sequence number each: a program that connects again and again.", name(c.Side))
		case c.Kind == "connect-loop":
			text = fmt.Sprintf("%s's SYNs have a new sequence number each, %v apart at the least: a program that connects again and again.", name(c.Side), round(slices.Min(c.Gaps)))
		case c.Kind == "both":
			text = fmt.Sprintf("%s's system repeated SYNs, and its program connected anew.", name(c.Side))
		case len(c.Gaps) == 0:
			text = fmt.Sprintf("%s's system repeated its SYN.", name(c.Side))
		default:
			text = fmt.Sprintf("%s's system repeated its SYN after %s.", name(c.Side), listOf(c.Gaps))
		}
		if len(c.Stacks) > 0 {
			text = strings.TrimSuffix(text, ".") + ", as this does: " + strings.Join(c.Stacks, ", ") + "."
		}
		*e = append(*e, Evidence{text, c.File, c.Packet})
	}
}

func listOf(gaps []time.Duration) string {
	var words []string
	for _, g := range gaps[:min(len(gaps), 8)] {
		words = append(words, fmt.Sprintf("%.2f", g.Seconds()))
	}
	return strings.Join(words, ", ") + " s"
}

func (f *facts) tellChanges(e *evidenceList, h Handshake, changes []translation) {
	for _, c := range changes {
		if c.Inside != c.Outside {
			e.at(c.shown, "Between two vantage points %s is renamed: %s inside, %s outside.", name(c.Side), c.Inside, c.Outside)
		}
		for _, d := range c.details {
			e.at(d.shown, "A box on the way of %s's segments %s.", name(c.Side), d.text)
		}
	}
	for _, l := range h.Leaks {
		*e = append(*e, Evidence{fmt.Sprintf("%s's %s leaked through its NAT untranslated: it says %s, and %s is %s here, so the peer cannot take it for %s's. %d such.",
			name(l.Side), label(l.Kind), l.From, name(l.Side), l.Instead, name(l.Side), l.Count), l.File, l.Packet})
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
		e.add(last, "No answer was captured, and A itself ended it with a %s, which hosts send in answer to something only (RFC 9293 section 3.10.7).", label(last.Kind))
		return
	}
	if h.SynsA <= 1 {
		e.add(last, "Nothing came back to this one SYN while the capture went on.")
		return
	}
	if took := last.Time.Sub(f.segments[0].Time); took > 0 {
		e.add(last, "Nothing came back to any of %d SYNs in %v.", h.SynsA, round(took))
		return
	}
	e.add(last, "Nothing came back to any of %d SYNs.", h.SynsA)
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
