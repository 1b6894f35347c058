package captures

import (
	"math"
	"slices"
)

// What proves each verdict, for the pair of initial sequence numbers (ISNs)
// that the ends acknowledged in the end, or else tried last. "SYN" is a segment
// with SYN and without ACK.
//
//   - simultaneous-open: each end sent a SYN, and each end sent a SYN-ACK that
//     repeats the ISN of its own SYN and acknowledges the other's. RFC 9293
//     section 3.5: an end answers a SYN with a SYN-ACK of the same ISN only if
//     the SYN met it in SYN-SENT, so its own SYN had left before. A listener's
//     SYN-ACK has an ISN of which no SYN was sent; an end without a socket sends
//     a RST, and its later SYN has nothing to do with the earlier one. The proof
//     needs neither clocks nor order, and holds at any place on the path. It
//     takes both ends for TCPs that follow that section: a SYN-ACK crafted for an
//     ISN that a third party told looks the same, unless it was captured on its
//     host, where the SYN that it answers is then missing.
//   - late-crossing: both sent a SYN, one end (the early one) answered with a
//     SYN-ACK of the same ISN, and the other sent a plain ACK and no SYN-ACK.
//     The late end met the early end's SYN-ACK in SYN-SENT: the early end's SYN
//     never reached its socket, having come before the socket or been dropped.
//     At a place that the early SYN never reached (behind the late end's NAT)
//     the same exchange is SYN, SYN-ACK, ACK: a three-way handshake, and nothing
//     there tells the difference. Where the late end's SYN-ACK was lost before
//     the vantage point, a simultaneous open looks like this.
//   - split-handshake: both sent a SYN, but one end had acknowledged the other's
//     ISN before its own SYN left: a listener that answers in two steps. Without
//     that ACK it cannot be told from a late crossing.
//   - three-way: one SYN, a SYN-ACK from the other end, an ACK of it.
//   - refused: a RST answered the SYN or the SYN-ACK before an end was
//     established. icmp-rejected: an ICMP error that quotes the SYN was the only
//     answer to it, or the first. unanswered: SYNs and nothing else.
//   - one-sided: one direction only was captured, though what was captured shows
//     that the other existed. incomplete: none of the above can be said.

// pair is the opening's two ISNs; an unseen one is not known.
type pair struct {
	isn   [3]uint32 // by Side
	known [3]bool
}

// facts are the segments that count, as indices into exchange.segments, or -1.
// The arrays are indexed by the Side that sent the segment.
type facts struct {
	exchange
	pair
	syn    [3]int
	synAck [3]int
	ack    [3]int // the first segment of an established end
	early  [3]int // an ACK of the other's ISN before this end's own SYN
	rst    [3]int // a RST of this side, or in its name, against the opening
	icmp   [3]int // an ICMP error about this side's SYN or SYN-ACK
	late   [3]int // a SYN-ACK repeated, or a RST, after the other end's ack
}

// within reports whether x lies in the 2^30 numbers from base on: the greatest
// window of RFC 7323 section 2.3.
func within(x, base uint32) bool { return x-base < 1<<30 }

// choosePair finds the ISNs that were acknowledged: of all SYN-ACKs the pair
// that later acknowledgements confirm, then the latest. Without a SYN-ACK the
// last SYN of each side stands. A SYN-ACK that acknowledges none of the SYNs
// that were seen, and that nothing confirms, is a stray: its receiver drops it
// (RFC 9293 section 3.10.7.3).
func choosePair(e exchange) pair {
	var best pair
	for _, f := range e.segments {
		if f.Kind == KindSyn {
			best.isn[f.side], best.known[f.side] = f.Seq, true
		}
	}
	tried, score := best.known, -1
	for _, f := range e.segments {
		if f.Kind != KindSynAck {
			continue
		}
		isn, answers := e.acknowledged(f)
		var p pair
		p.isn[f.side], p.isn[f.side.Other()] = f.Seq, isn
		p.known = [3]bool{false, true, true}
		n := e.confirmations(p)
		if stray := n == 0 && tried[f.side.Other()] && !answers; n >= score && !stray {
			score, best = n, p
		}
	}
	return best
}

// acknowledged is the ISN that a SYN-ACK acknowledges: the number before its
// ack, or, where the SYN carried data (RFC 7413), one that lies as far back as
// that data is long. It also says whether such a SYN was seen.
func (e exchange) acknowledged(synAck flight) (isn uint32, seen bool) {
	for _, x := range e.segments {
		if x.Kind == KindSyn && x.side == synAck.side.Other() && synAck.Ack-x.Seq-1 <= uint32(x.PayloadLen) {
			return x.Seq, true
		}
	}
	return synAck.Ack - 1, false
}

// confirmations counts the ends that sent what only an established end sends.
func (e exchange) confirmations(p pair) int {
	n := 0
	for _, side := range []Side{SideA, SideB} {
		for _, f := range e.segments {
			if f.side == side && f.Kind.acknowledges() && p.fits(f) {
				n++
				break
			}
		}
	}
	return n
}

// fits reports whether an acknowledging segment belongs to the pair.
func (p pair) fits(f flight) bool {
	return within(f.Seq, p.isn[f.side]+1) && within(f.Ack, p.isn[f.side.Other()]+1)
}

func gather(e exchange) facts {
	f := facts{exchange: e, pair: choosePair(e)}
	for _, list := range []*[3]int{&f.syn, &f.synAck, &f.ack, &f.early, &f.rst, &f.icmp, &f.late} {
		*list = [3]int{-1, -1, -1}
	}
	for i, x := range e.segments {
		f.note(i, x)
	}
	return f
}

func setFirst(where *int, i int) {
	if *where < 0 {
		*where = i
	}
}

func (f *facts) note(i int, x flight) {
	me, peer := x.side, x.side.Other()
	mine := f.known[me] && x.Seq == f.isn[me]
	acksPeer := f.known[peer] && x.Ack-f.isn[peer]-1 <= f.synPayload(peer)
	switch {
	case x.Kind == KindSyn && mine:
		setFirst(&f.syn[me], i)
	case x.Kind == KindSynAck && mine && acksPeer:
		setFirst(&f.synAck[me], i)
		if f.ack[peer] >= 0 && f.synAck[me] != i {
			f.late[me] = i
		}
	case x.Kind.isRst():
		f.noteReset(i, x, acksPeer)
	case x.Kind.IsICMP() && mine:
		setFirst(&f.icmp[me], i)
	case x.Kind.acknowledges():
		if x.Kind == KindAck && acksPeer && f.syn[me] < 0 {
			setFirst(&f.early[me], i)
		}
		if f.known[me] && f.known[peer] && f.fits(x) {
			setFirst(&f.ack[me], i)
		}
	}
}

// synPayload is how much data a side's SYN carried.
func (f *facts) synPayload(side Side) uint32 {
	if f.syn[side] < 0 {
		return 0
	}
	return uint32(f.segments[f.syn[side]].PayloadLen)
}

// noteReset takes a RST that can end this opening: RST-ACK that acknowledges
// the SYN (and its payload), or a RST whose number lies in the window that the
// other side opened (RFC 9293 section 3.10.7), which is not scaled in a SYN.
func (f *facts) noteReset(i int, x flight, acksPeer bool) {
	me, peer := x.side, x.side.Other()
	if f.syn[peer] < 0 && f.synAck[peer] < 0 {
		return // it refuses nothing: an end that gives up
	}
	inWindow := f.known[me] && x.Seq-f.isn[me] <= 1+math.MaxUint16
	ofSyn := x.Kind == KindRstAck && acksPeer
	alone := x.Kind == KindRst && !f.known[me] // what a NAT or a filter may make up
	if inWindow && x.Kind == KindRst || ofSyn || alone {
		setFirst(&f.rst[me], i)
		if f.ack[peer] >= 0 {
			f.late[me] = i
		}
	}
}

func (f *facts) has(list [3]int, side Side) bool { return list[side] >= 0 }

// judge applies the rules at the top of this file, most telling first.
func (f *facts) judge() Verdict {
	a, b := SideA, SideB
	bothSyns := f.has(f.syn, a) && f.has(f.syn, b)
	if bothSyns && f.has(f.synAck, a) && f.has(f.synAck, b) {
		return VerdictSimultaneousOpen
	}
	established := f.has(f.ack, a) || f.has(f.ack, b)
	if bothSyns && established {
		if v := f.judgeUneven(); v != VerdictUnknown {
			return v
		}
	}
	for _, side := range []Side{a, b} {
		if f.has(f.syn, side) && !f.has(f.syn, side.Other()) && f.has(f.synAck, side.Other()) && f.has(f.ack, side) {
			return VerdictThreeWay
		}
	}
	if !established {
		if v := f.judgeRejected(); v != VerdictUnknown {
			return v
		}
	}
	return f.judgePartial()
}

// judgeUneven is for two SYNs of which one only was answered by a SYN-ACK.
func (f *facts) judgeUneven() Verdict {
	for _, early := range []Side{SideA, SideB} {
		late := early.Other()
		if f.has(f.early, late) {
			return VerdictSplitHandshake
		}
		if f.has(f.synAck, early) && f.has(f.ack, late) {
			return VerdictLateCrossing
		}
	}
	return VerdictUnknown
}

// judgeRejected goes by the first rejection of the last attempts: what follows
// is often its consequence, as when an ICMP error closes a socket, which then
// refuses the SYN that comes next.
func (f *facts) judgeRejected() Verdict {
	first, verdict := len(f.segments), VerdictUnknown
	for _, side := range []Side{SideA, SideB} {
		if i := f.icmp[side]; i >= 0 && i < first && f.fatal(i) {
			first, verdict = i, VerdictICMPRejected
		}
		if i := f.rst[side]; i >= 0 && i < first {
			first, verdict = i, VerdictRefused
		}
	}
	return verdict
}

// fatal leaves out path MTU discovery, which no SYN needs, and errors that a SYN
// survived to be answered. Which others end an opening differs from system to
// system (RFC 5461 section 2): each is an answer.
func (f *facts) fatal(i int) bool {
	return f.segments[i].Kind != KindICMPTooBig && !(f.repeatedAfter(i) >= 0 && f.answeredAfter(i))
}

// repeatedAfter is the side's next SYN or SYN-ACK of the same number after an
// error about it, or -1.
func (f *facts) repeatedAfter(err int) int {
	side := f.segments[err].side
	i := slices.IndexFunc(f.segments[err+1:], func(x flight) bool { return x.Kind.isSyn() && x.side == side && x.Seq == f.isn[side] })
	if i < 0 {
		return -1
	}
	return err + 1 + i
}

// answeredAfter reports whether the other side sent a SYN-ACK after an error,
// whatever it acknowledges.
func (f *facts) answeredAfter(err int) bool {
	other := f.segments[err].side.Other()
	return slices.ContainsFunc(f.segments[err+1:], func(x flight) bool { return x.Kind == KindSynAck && x.side == other })
}

func (f *facts) judgePartial() Verdict {
	switch {
	case f.onlyOneDirection():
		return VerdictOneSided
	case f.has(f.syn, SideA) && !f.heardSince(f.syn[SideA]), f.onlySyns():
		return VerdictUnanswered
	}
	return VerdictIncomplete
}

func (f *facts) sends(side Side) bool {
	for _, x := range f.segments {
		if x.side == side && !x.Kind.IsICMP() {
			return true
		}
	}
	return false
}

// heardSince reports whether B sent anything after A's last attempt.
func (f *facts) heardSince(syn int) bool {
	for _, x := range f.segments[syn:] {
		if x.side == SideB && !x.Kind.IsICMP() {
			return true
		}
	}
	return false
}

// onlyOneDirection: one end acknowledges what the other, of which nothing was
// captured, must have sent.
func (f *facts) onlyOneDirection() bool {
	for _, side := range []Side{SideA, SideB} {
		if f.sends(side.Other()) {
			continue
		}
		for _, x := range f.segments {
			if x.side == side && (x.Kind == KindSynAck || x.Kind.acknowledges() && x.Ack != 0) {
				return true
			}
		}
	}
	return false
}

func (f *facts) onlySyns() bool {
	for _, x := range f.segments {
		if x.Kind != KindSyn {
			return false
		}
	}
	return len(f.segments) > 0
}

// established is nil where the packets do not tell. An end is established once
// it sends a segment without SYN that acknowledges the other's SYN. One end's
// word is enough where every segment of the opening was seen and nothing later
// contradicts it: a SYN-ACK sent again, or a RST.
func (f *facts) established(v Verdict) *bool {
	yes, no := new(bool), new(bool)
	*yes = true
	ackA, ackB := f.has(f.ack, SideA), f.has(f.ack, SideB)
	switch {
	case ackA && ackB:
		return yes
	case v == VerdictRefused, v == VerdictICMPRejected, v == VerdictUnanswered:
		return no
	case v == VerdictOneSided, v == VerdictIncomplete, v == VerdictUnknown:
		return nil
	case ackA && !f.has(f.late, SideB), ackB && !f.has(f.late, SideA): // the silent side shows no doubt
		return yes
	case f.has(f.rst, SideA), f.has(f.rst, SideB):
		return no
	}
	return nil
}
