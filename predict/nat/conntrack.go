package nat

import "time"

// connection is what netfilter's connection tracking knows of a TCP connection.
type connection struct {
	state        tcpState
	ends         [2]window // of the end that opened, of the other
	answered     bool      // the other end was heard
	assured      bool      // the handshake was seen to its end
	simultaneous bool
	last         lastSegment
	repeated     int // the last ACK
}

// lastSegment is what stood out in the latest segment.
type lastSegment struct {
	kind          segmentKind
	direction     int
	seq, ack, end uint32
	window        uint32
	options       Options // of an ignored SYN
	challenge     bool    // an ignored SYN may be answered by a challenge ACK (RFC 5961 section 4)
}

// newConnection starts with its first segment; nil when none starts so. One
// that is met in the middle is picked up.
func newConnection(p Packet) *connection {
	c := &connection{last: lastSegment{kind: kindNone}}
	first := &c.ends[0]
	first.end, first.maxWindow = p.end(), max(uint32(p.Window), 1)
	first.maxEnd = first.end
	switch tcpNone.after(p.kind(), 0) {
	case tcpSynSent:
		first.options(p)
	case tcpEstablished:
		first.maxEnd += first.maxWindow
		first.sack, first.liberal = true, true
		c.ends[1].sack, c.ends[1].liberal = true, true
	default:
		return nil
	}
	return c
}

// packet follows the connection by a segment.
func (c *connection) packet(p Packet, reply bool) tracking {
	if !plausible(p.Flags) {
		return invalid
	}
	d := 0
	if reply {
		d = 1
	}
	k, old := p.kind(), c.state
	next := old.after(k, d)
	checked := true
	switch next {
	case tcpInvalid:
		return invalid
	case tcpSynSent, tcpIgnore:
		if next == tcpSynSent && old < tcpTimeWait {
			break
		}
		if next == tcpSynSent && (c.ends[0].closedFirst || c.ends[1].closedFirst || c.last.direction == d && c.last.kind == kindRST) {
			return restart
		}
		if !c.resynchronise(p, k, d) {
			c.ignore(p, k, d)
			return c.heard(d, ignored)
		}
		old, next = tcpSynSent, tcpSynReceived
	case tcpTimeWait:
		if old == tcpLastAck && k == kindACK && c.last.direction != d && c.last.kind == kindSYN && c.last.challenge {
			c.last.challenge = false
			return c.heard(d, ignored)
		}
	case tcpSynSent2:
		c.simultaneous = true
	case tcpSynReceived:
		if d == 1 && k == kindACK && c.simultaneous {
			next = tcpEstablished
		}
	case tcpClose:
		if k == kindRST {
			var v tracking
			if next, checked, v = c.reset(p, d, old, next); v != fits {
				return v
			}
		}
	}
	if checked {
		switch c.inWindow(p, k, d) {
		case invalid:
			return invalid
		case ignored:
			return c.heard(d, ignored)
		}
	}
	return c.enter(p, k, d, old, next)
}

// plausible are the flags that go together; PSH, and those of congestion
// control, always do.
func plausible(f Flags) bool {
	switch f &^ PSH {
	case SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG:
		return true
	}
	return false
}

// heard notes that the other end was heard.
func (c *connection) heard(d int, v tracking) tracking {
	c.answered = c.answered || d == 1
	return v
}

// resynchronise believes a SYN-ACK that acknowledges a SYN which was ignored
// before: both ends are in step, and the middle was not.
func (c *connection) resynchronise(p Packet, k segmentKind, d int) bool {
	if k != kindSYNACK || c.last.kind != kindSYN || c.last.direction == d || p.Ack != c.last.end {
		return false
	}
	w := &c.ends[c.last.direction]
	w.end, w.maxEnd, w.maxWindow = c.last.end, c.last.end, max(c.last.window, 1)
	w.closedFirst, w.unacknowledged, w.acked, w.liberal = false, false, false, false
	w.options(Packet{Options: c.last.options})
	c.ends[d] = window{liberal: c.ends[d].liberal}
	c.last.challenge = false
	return true
}

// ignore remembers a segment that passes without being believed.
func (c *connection) ignore(p Packet, k segmentKind, d int) {
	c.last.kind, c.last.direction = k, d
	c.last.seq, c.last.end, c.last.window = p.Seq, p.end(), uint32(p.Window)
	if k == kindACK && d == 1 && c.state == tcpSynSent {
		c.last.ack = p.Ack
	}
	if k == kindSYN && d == 0 {
		c.last.options = p.Options
		c.last.challenge = c.state == tcpLastAck
		c.simultaneous = false
	}
}

// reset decides whether a RST is believed, and whether its numbers still have
// to be checked.
func (c *connection) reset(p Packet, d int, old, next tcpState) (tcpState, bool, tracking) {
	other := &c.ends[1-d]
	if old >= tcpFinWait && old <= tcpClose { // the endpoints may be in use again
		return next, false, fits
	}
	if other.acked && c.last.kind != kindSYN {
		switch {
		case p.Seq == 0 && old != tcpEstablished:
			return next, true, fits
		case before(p.Seq, other.maxAck):
			return next, false, invalid
		case old != tcpEstablished, p.Seq == other.maxAck:
			return next, true, fits
		case c.last.kind == kindACK && c.last.direction == d && p.Seq == c.last.end:
			return next, true, fits
		}
		next = old // a challenge ACK may follow (RFC 5961 section 3)
	}
	answers := c.answered && c.last.kind == kindSYN && c.last.direction != d || !c.assured && c.last.kind == kindACK
	if old == tcpSynSent && c.last.kind == kindACK && c.last.direction == 1 && p.Seq == c.last.ack {
		return next, false, fits // answers an ACK of a half-open connection (RFC 9293 section 3.5.1)
	}
	return next, !(answers && p.Ack == c.last.end), fits
}

// enter goes on to the next state.
func (c *connection) enter(p Packet, k segmentKind, d int, old, next tcpState) tracking {
	c.last.kind, c.last.direction, c.state = k, d, next
	if old != next && next == tcpFinWait {
		c.ends[d].closedFirst = true
	}
	if !c.answered {
		if k == kindRST {
			return ends
		}
		if k == kindSYN && old == tcpSynSent { // neither a repeated SYN nor a crossing one renews the timeout
			return c.heard(d, ignored)
		}
	} else if (old == tcpSynReceived || old == tcpEstablished) && next == tcpEstablished {
		c.assured = true
	}
	return c.heard(d, fits)
}

// Timeouts that are not configurable: netfilter's defaults.
const (
	timeoutCloseWait = time.Minute
	timeoutLastAck   = 30 * time.Second
	timeoutClosing   = 2 * time.Minute // FIN-WAIT, TIME-WAIT
	timeoutDoubtful  = 5 * time.Minute // repeated ACKs, data without ACK, a window of 0
	maxRepeated      = 3
)

// timeout is how long the connection may now be silent.
func (c *connection) timeout(config *Config) time.Duration {
	d := c.regularTimeout(config)
	doubtful := c.repeated >= maxRepeated || c.ends[0].unacknowledged || c.ends[1].unacknowledged ||
		c.last.kind == kindACK && c.last.window == 0 || c.state == tcpEstablished && !c.answered
	if c.last.kind == kindRST {
		return min(d, config.Closed)
	}
	if doubtful {
		return min(d, timeoutDoubtful)
	}
	return d
}

func (c *connection) regularTimeout(config *Config) time.Duration {
	switch c.state {
	case tcpSynReceived:
		return config.SYNReceived
	case tcpEstablished:
		return config.Established
	case tcpFinWait, tcpTimeWait:
		return timeoutClosing
	case tcpCloseWait:
		return timeoutCloseWait
	case tcpLastAck:
		return timeoutLastAck
	case tcpClose:
		return config.Closed
	}
	return config.Transitory
}
