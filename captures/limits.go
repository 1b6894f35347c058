package captures

import "fmt"

// limits says, a sentence each, what these vantage points cannot know and
// others could.
func (f *facts) limits(h Handshake) []string {
	list := []string{}
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	f.limitsOfVerdict(h, say)
	switch n := len(f.streams); {
	case n == 1 && f.atHome(SideA) && !f.atHome(SideB):
		say("This was captured on A's host: what B's end saw, and which addresses it has there, takes a capture on that side.")
	case n == 1 && f.atHome(SideB) && !f.atHome(SideA):
		say("This was captured on B's host: what A's end saw, and which addresses it has there, takes a capture on that side.")
	case n == 1:
		say("This was captured at one place: what NATs before and behind it rewrite takes a second one.")
	}
	return list
}

func (f *facts) limitsOfVerdict(h Handshake, say func(string, ...any)) {
	switch h.Verdict {
	case VerdictThreeWay:
		asker := SideA
		if f.syn[asker] < 0 {
			asker = SideB
		}
		if answerer := asker.Other(); !f.atHome(answerer) {
			say("If %[1]s had opened too, and its SYN was dropped before it came here, it would look the same: whether %[1]s was listening or connecting is not known.", name(answerer))
		}
	case VerdictLateCrossing:
		if late := f.lateSide(); !f.atHome(late) {
			say("Whether %s's SYN came before %s's socket was there, or was dropped on the way, is not to be seen from here; and if a SYN-ACK of %[2]s's got lost before this place, it was a simultaneous open.", name(late.Other()), name(late))
		}
	case VerdictUnanswered:
		if h.SynsA > 0 && h.SynsB > 0 {
			say("Where the SYNs of both sides were dropped is not to be seen from here.")
		} else {
			say("Whether the SYNs were dropped on their way out, or an answer, a RST or an ICMP error on its way back, is not to be seen from here.")
		}
	case VerdictOneSided:
		say("The other direction was not captured: whether that side opened too, or answered as a listener, is not known.")
	case VerdictRefused, VerdictICMPRejected:
		f.limitsOfOrigin(h, say)
	case VerdictIncomplete:
		if h.Established == nil {
			say("Whether it was established afterwards is not known.")
		} else {
			say("Segments of the opening are missing: how it was opened is not known.")
		}
	}
}

func (f *facts) limitsOfOrigin(h Handshake, say func(string, ...any)) {
	o := h.Reset
	if h.ICMP != nil {
		o = &h.ICMP.Origin
	}
	if o != nil && o.Confidence != "proven" {
		r := f.rejection(h.Verdict)
		say("Only a capture nearer to %s would prove whether %s itself or a box before it refused.", name(r.refuser), name(r.refuser))
	}
}

// lateSide is the side of a late crossing that met a SYN-ACK.
func (f *facts) lateSide() Side {
	if f.synAck[SideA] < 0 {
		return SideA
	}
	return SideB
}
