package captures

import "time"

// opening is one opening at one vantage point while packets come: 64 bytes, one
// line of a processor's cache, of which most packets need no other.
type opening struct {
	hash   uint64           // of its flow
	time   int64            // of its latest segment
	marks  uint64           // a byte for each of the latest 8 segments that were kept
	isn    [2]uint32        // the latest of each end, low and high
	nodes  [fewNodes]uint32 // of the first segments that are kept
	latest uint32           // node of the latest one beyond these
	ports  uint32
	state  uint16
	plain  uint16 // counts of segments without SYN or RST, two bits for each side and kind
	count  uint16 // nodes
	_      uint16 // to 64 bytes
}

// fewNodes are as many as most openings have before they are settled.
const fewNodes = 4

func (o *opening) isOf(id *flowID) bool { return o.hash == id.hash && o.ports == id.ports }

// particulars are the rest of an opening, in 64 bytes: what a SYN changes, and what
// matters when it is judged. They have the opening's number.
type particulars struct {
	low, high number    // addresses
	place     uint64    // as flowID has it
	first     uint64    // packet
	syns      [2]uint32 // SYNs of each end, all of them
	tries     [2]uint32 // different sequence numbers in them
}

// id is the flow of an opening.
func (s *shard) id(n uint32) flowID {
	o, d := s.openings.at(n), s.details.at(n)
	return flowID{d.low, d.high, d.place, o.ports, o.hash}
}

// The state of an opening. Those of an end are shifted by one for high.
const (
	stateUsed     = 1 << iota
	stateSyn      // an end sent a SYN
	_             //
	stateSynAck   // and a SYN-ACK that fits
	_             //
	stateAnswered // and what only an established end sends
	_             //
	stateRefused  // and a RST that refuses the other's SYN
	_             //
	stateISN      // its sequence number is known
	_             //
	stateOdd      // it takes the full rules to judge it
	stateEnded    // FIN, or RST after both answered
	stateSettled  // the verdict can change no more, and is three-way
	stateKept     // it is to be listed, or compared with others
	stateOver     // it is kept, and nothing more can be added
)

const bothAnswered = stateAnswered | stateAnswered<<1

func (o *opening) is(state uint16) bool    { return o.state&state == state }
func (o *opening) isAny(state uint16) bool { return o.state&state != 0 }

// of is an end's bit.
func of(end int, state uint16) uint16 { return state << end }

// isOver reports whether a SYN or SYN-ACK begins another opening: after a
// connection, or after a long silence. A SYN with a new sequence number before
// that is a further attempt of the same opening.
func (s *shard) isOver(n uint32, l *look) bool {
	o := s.openings.at(n)
	if s.knows(n, l) {
		return false
	}
	return l.kind == KindSyn && (o.is(stateEnded) || o.is(bothAnswered)) || between(o.time, l.time) > sameAttempt
}

// knows reports whether the sender used the sequence number before, or of an
// ICMP error whether it quotes such a segment.
func (s *shard) knows(n uint32, l *look) bool {
	o, end := s.openings.at(n), l.end()
	if o.is(of(end, stateISN)) && o.isn[end] == l.seq {
		return true
	}
	if !o.is(stateOdd) {
		return false
	}
	for _, x := range s.nodesOf(o) {
		if x.kind.isSyn() && x.seq == l.seq && x.has(nodeFromLow) == l.fromLow {
			return true
		}
	}
	return false
}

func (l *look) end() int {
	if l.fromLow {
		return 0
	}
	return 1
}

// isWanted decides which segments are kept: all that may matter to the
// opening, and of the traffic afterwards as much as proves that it stands. What
// they tell is noted in the opening.
func (s *shard) isWanted(n uint32, l *look) bool {
	o, end := s.openings.at(n), l.end()
	o.time = l.time
	switch l.kind {
	case KindSyn:
		s.noteSyn(n, l)
		return true
	case KindSynAck:
		s.noteSynAck(n, l)
		return true
	case KindRst, KindRstAck:
		return s.noteRst(n, l)
	case KindUnknown:
		return false
	case KindFin:
		o.state |= stateEnded
	case KindAck, KindData:
	default: // an ICMP error
		known := s.knows(n, l)
		if known {
			o.state |= stateOdd
		}
		return known
	}
	o.state |= of(end, stateAnswered)
	if !s.fits(n, l) {
		o.state |= stateOdd
	}
	had := o.plainOf(end, l.kind)
	if had < maxPlain {
		o.plain += 1 << plainAt(end, l.kind)
	}
	return had < s.plainWanted()
}

// plainAt is where the count of a kind of plain segments is.
func plainAt(end int, kind Kind) int {
	at := end * 6
	switch kind {
	case KindData:
		at += 2
	case KindFin:
		at += 4
	}
	return at
}

// plainOf is how many plain segments of a kind an end sent, at most 3.
func (o *opening) plainOf(end int, kind Kind) int { return int(o.plain >> plainAt(end, kind) & 3) }

func (s *shard) noteSyn(n uint32, l *look) {
	o, d, end := s.openings.at(n), s.details.at(n), l.end()
	d.syns[end]++
	if l.payload > 0 {
		o.state |= stateOdd
	}
	if s.knows(n, l) {
		o.state |= of(end, stateSyn)
		return
	}
	d.tries[end]++
	if o.isAny(of(end, stateISN) | of(1-end, stateSyn)) {
		o.state |= stateOdd
	}
	o.isn[end] = l.seq
	o.state = o.state&^bothAnswered | of(end, stateSyn|stateISN)
	o.plain = 0
}

func (s *shard) noteSynAck(n uint32, l *look) {
	o, end := s.openings.at(n), l.end()
	known := o.is(of(end, stateISN))
	if !o.is(of(1-end, stateSyn)) || l.ack != o.isn[1-end]+1 || known && o.isn[end] != l.seq || o.is(of(end, stateSyn)) {
		o.state |= stateOdd
	}
	o.isn[end] = l.seq
	o.state |= of(end, stateSynAck|stateISN)
}

// noteRst: a RST after the end of a connection is of no interest.
func (s *shard) noteRst(n uint32, l *look) bool {
	o, end := s.openings.at(n), l.end()
	if o.is(stateEnded) {
		return false
	}
	if o.is(bothAnswered) {
		o.state |= stateEnded
		return true
	}
	if l.kind == KindRstAck && o.is(of(1-end, stateSyn)) && l.ack == o.isn[1-end]+1 {
		o.state |= of(end, stateRefused)
	} else {
		o.state |= stateOdd
	}
	return true
}

// fits reports whether the numbers of a segment belong to the opening's.
func (s *shard) fits(n uint32, l *look) bool {
	o, end := s.openings.at(n), l.end()
	return o.is(stateISN|stateISN<<1) && within(l.seq, o.isn[end]+1) && within(l.ack, o.isn[1-end]+1)
}

// quickVerdict judges the openings that take no thought, by the rules of
// judge.go; a test compares the two.
func (o *opening) quickVerdict() (Verdict, bool) {
	if o.is(stateOdd) {
		return VerdictUnknown, false
	}
	const seen = stateSyn | stateSynAck | stateAnswered | stateRefused
	for end := range 2 {
		if !o.is(of(end, stateSyn)) {
			continue
		}
		mine, theirs := o.state>>end&seen, o.state>>(1-end)&seen
		switch {
		case mine == stateSyn|stateAnswered && theirs&^stateAnswered == stateSynAck:
			return VerdictThreeWay, true
		case mine == stateSyn && theirs == 0:
			return VerdictUnanswered, true
		case mine == stateSyn && theirs == stateRefused:
			return VerdictRefused, true
		case mine == stateSyn && theirs == stateSynAck:
			return VerdictIncomplete, true
		}
		return VerdictUnknown, false
	}
	return VerdictUnknown, false
}

// isIdle reports whether nothing more is expected of an opening.
func (o *opening) isIdle(now int64) bool {
	silent := between(o.time, now)
	return silent > sameAttempt || o.is(stateEnded) && silent > lingering
}

// lingering is how long an ended connection is remembered, for what comes late.
const lingering = time.Second
