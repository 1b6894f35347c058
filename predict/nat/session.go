package nat

import (
	"net/netip"
	"time"
)

// A role is why the NAT remembers a pair of outside endpoints.
type role uint8

const (
	carried  role = iota // packets pass
	held                 // a SYN from outside waits for one from inside
	poisoned             // the NAT has taken a SYN from outside itself
)

// A session is one connection, as seen in the middle.
type session struct {
	role     role
	protocol Protocol
	mapping  *mapping // nil unless carried
	outside  netip.AddrPort
	remote   netip.AddrPort

	incoming    bool // the first packet came from outside
	synOut      bool // seen from inside: a SYN
	synIn       bool // let in: a bare SYN or a SYN-ACK
	ackOut      bool
	ackIn       bool
	closing     bool // a FIN or RST passed
	dropNextSYN bool // ResetDropNext has seen its RST
	took        bool // the session itself holds its place in the allocator

	tcp   *connection // SequenceWindow
	shift uint32      // SequenceRewrite: outside minus inside sequence numbers

	deadline time.Duration // when it ends, since the translator's first packet
	due      time.Duration // its place in the timers, at most deadline
	index    int           // in the timers, -1 outside of them

	packet Packet // held: the SYN
	quote  []byte // held: its bytes
}

// established reports whether both ends have acknowledged something: before
// that a RST or an ICMP error can be the end of a hole.
func (s *session) established() bool {
	if s.tcp != nil {
		return s.tcp.state >= tcpEstablished && s.tcp.state != tcpSynSent2
	}
	return s.ackOut && s.ackIn
}

// crosses reports whether p, from outside, is the SYN of a simultaneous open:
// only the inside's SYN was seen before.
func (s *session) crosses(p Packet) bool {
	return p.opens() && s.synOut && !s.synIn && !s.incoming && !s.closing
}

// see follows the connection without looking at sequence numbers.
func (s *session) see(p Packet, outbound bool) {
	if p.Protocol != TCP {
		return
	}
	if p.opens() && s.closing && s.tcp == nil { // the endpoints are used again
		s.synOut, s.synIn, s.ackOut, s.ackIn, s.closing, s.dropNextSYN = false, false, false, false, false, false
		s.incoming = !outbound
	}
	syn, ack := &s.synIn, &s.ackIn
	if outbound {
		syn, ack = &s.synOut, &s.ackOut
	}
	*syn = *syn || p.Flags.Has(SYN)
	*ack = *ack || p.Flags.Has(ACK) && !p.resets()
	s.closing = s.closing || p.Flags&(FIN|RST) != 0
}

// idle is how long the session may now be silent.
func (s *session) idle(c *Config) time.Duration {
	switch {
	case s.protocol != TCP:
		return c.Datagram
	case s.dropNextSYN:
		return c.Closed
	case s.tcp != nil:
		return s.tcp.timeout(c)
	case s.closing:
		return c.Transitory
	case s.established():
		return c.Established
	case s.synIn && s.synOut:
		return c.SYNReceived
	}
	return c.Transitory
}
