package nat

// A window is what the middle knows of what one end may send: the tests of
// Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000),
// with netfilter's bounds.
type window struct {
	end       uint32 // after the last byte sent
	maxEnd    uint32 // the greatest number that the other end allows
	maxWindow uint32 // the greatest window it has offered; 0 before it was heard
	maxAck    uint32 // the greatest acknowledgment it has sent, if acked
	scale     uint8
	scaled    bool
	sack      bool
	acked     bool
	liberal   bool // met in the middle: anything goes

	unacknowledged bool // it has sent what was not acknowledged yet
	closedFirst    bool
}

// maxAckWindow is how far an acknowledgment may lie behind.
const maxAckWindow = 66000

func after(a, b uint32) bool  { return int32(a-b) > 0 }
func before(a, b uint32) bool { return int32(a-b) < 0 }

// options takes over what a SYN offers.
func (w *window) options(p Packet) {
	w.scaled, w.scale, w.sack = p.Options.Scaled, min(p.Options.Scale, 14), p.Options.SACKPermitted // 14: RFC 7323 section 2.3
}

// begin starts an end with its SYN or SYN-ACK. Scaling holds only if both
// offer it (RFC 7323 section 2.2).
func (w *window) begin(p Packet, other *window) {
	w.end, w.maxEnd, w.maxWindow = p.end(), p.end(), max(uint32(p.Window), 1)
	w.options(p)
	if !w.scaled || !other.scaled {
		w.scale, other.scale = 0, 0
	}
}

// pickUp starts an end in the middle of a connection.
func (w *window) pickUp(p Packet, other *window, sack uint32) {
	w.end = p.end()
	w.maxWindow = max(uint32(p.Window)<<w.scale, 1)
	w.maxEnd = w.end + w.maxWindow
	if other.maxWindow == 0 {
		other.end, other.maxEnd = sack, sack
	}
}

// inWindow checks a segment's numbers, and learns from them.
func (c *connection) inWindow(p Packet, k segmentKind, d int) tracking {
	sender, receiver := &c.ends[d], &c.ends[1-d]
	seq, end := p.Seq, p.end()
	ack, sack := p.Ack, p.Ack
	if receiver.sack && p.Options.SACK && after(p.Options.Edge, sack) {
		sack = p.Options.Edge
	}
	syn, hasAck := p.Flags.Has(SYN), p.Flags.Has(ACK)
	sent := receiver.end
	if sender.maxWindow == 0 && k == kindRST {
		sent++ // measured: a first answer that is a RST may acknowledge one more
	}
	switch {
	case sender.maxWindow == 0 && syn:
		sender.begin(p, receiver)
		if !hasAck {
			return fits
		}
	case sender.maxWindow == 0:
		sender.pickUp(p, receiver, sack)
	case syn && after(end, sender.end) && (c.state == tcpSynSent || c.state == tcpSynReceived): // a new SYN
		sender.begin(p, receiver)
		if d == 1 && !hasAck {
			return fits
		}
	}
	if !hasAck || k == kindRST && ack == 0 {
		ack, sack = receiver.end, receiver.end
	}
	if seq == end && (k != kindRST || seq == 0 && c.state == tcpSynSent) { // nothing but an acknowledgment
		seq, end = sender.end, sender.end
	}
	if !after(sent, receiver.end) {
		sent = receiver.end
	}
	if v := sender.judge(receiver, seq, end, sack, sent); v != fits {
		if sender.liberal {
			return fits // and is not learned from
		}
		return v
	}
	c.learn(p, k, d, seq, end, ack, sack)
	return fits
}

// judge compares a segment with what both ends have said; sent is what may be
// acknowledged. What exceeds the window by no more than as much again passes
// without being believed.
func (w *window) judge(receiver *window, seq, end, sack, sent uint32) tracking {
	switch {
	case !before(seq, w.maxEnd+1) && end-w.maxEnd+1 > receiver.maxWindow: // beyond what the receiver allows
		return invalid
	case after(sack, sent): // acknowledges what was not sent
		return invalid
	case receiver.maxWindow != 0 && !after(end, w.end-receiver.maxWindow-1): // old data again
		return ignored
	case !after(sack, receiver.end-max(w.maxWindow, maxAckWindow)-1): // a late acknowledgment
		return ignored
	}
	if !before(seq, w.maxEnd+1) {
		if after(end, w.end) {
			w.end = end
		}
		return ignored
	}
	return fits
}

// learn takes over a segment's numbers.
func (c *connection) learn(p Packet, k segmentKind, d int, seq, end, ack, sack uint32) {
	sender, receiver := &c.ends[d], &c.ends[1-d]
	size := uint32(p.Window)
	if !p.Flags.Has(SYN) {
		size <<= sender.scale
	}
	sender.maxWindow = max(sender.maxWindow, size+(sack-ack))
	if after(end, sender.end) {
		sender.end, sender.unacknowledged = end, true
	}
	if p.Flags.Has(ACK) && (!sender.acked || after(ack, sender.maxAck)) {
		sender.maxAck, sender.acked = ack, true
	}
	if receiver.maxWindow != 0 && after(end, sender.maxEnd) {
		receiver.maxWindow += end - sender.maxEnd
	}
	if after(sack+size, receiver.maxEnd-1) {
		receiver.maxEnd = sack + size
		if size == 0 {
			receiver.maxEnd++
		}
	}
	if ack == receiver.end {
		receiver.unacknowledged = false
	}
	if k != kindACK {
		return
	}
	if c.last.direction == d && c.last.seq == seq && c.last.ack == ack && c.last.end == end && c.last.window == size {
		c.repeated++
		return
	}
	c.last.direction, c.last.seq, c.last.ack, c.last.end, c.last.window = d, seq, ack, end, size
	c.repeated = 0
}
