package rawsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// CraftedConfig describes one end of a connection whose handshake is crafted.
// Only Local and Remote are required.
type CraftedConfig struct {
	Local, Remote netip.AddrPort // with local port 0 the kernel chooses one
	ISN           uint32         // own initial sequence number; 0 for a random one
	// Peer is the peer's SYN where it is known though it has not arrived, such as
	// from a coordinator; then a SYN-ACK follows the SYN at once. Only Seq, Window
	// and Options count. A peer whose options are not known gets a connection
	// without them: windows of at most 64 KiB, and no time stamps.
	Peer *Segment
	// TTL is the hop limit of the SYN alone, such as one that lets it die between
	// two NATs; 0 for that of Socket, or else 64.
	TTL uint8
	// Options and Window of the SYN; nil and 0 for what Linux would send.
	Options TCPOptions
	Window  uint16
	Socket  Options // of the connection in the end; TTL and Mark of what is crafted, too
}

// DialCrafted opens a connection by a crafted handshake and hands it to the
// kernel, which needs CAP_NET_RAW and CAP_NET_ADMIN (else a PrivilegeError before
// anything is sent). The peer may listen, connect at the same time, or craft
// too. Whatever ends it otherwise, the peer is told by a reset: ctx,
// ErrRefused, ErrUnreachable.
func DialCrafted(ctx context.Context, c CraftedConfig) (net.Conn, error) {
	open, err := OpenCrafted(c)
	if err != nil {
		return nil, err
	}
	defer open.Close()
	if err := open.SendSYN(); err != nil {
		return nil, err
	}
	return open.Wait(ctx)
}

// handshake is one end of a connection in SYN-SENT or SYN-RECEIVED, as RFC 9293
// section 3.10.7 describes them, without its sockets.
type handshake struct {
	syn  Segment  // that we sent, or shall send
	peer *Segment // the peer's SYN or SYN-ACK; nil in SYN-SENT
}

// heard takes a packet and returns what to answer, nil for nothing. over says
// that the connection stands, or failed with err.
func (h *handshake) heard(r Reply) (answer *Segment, over bool, err error) {
	if r.ICMP != nil {
		if r.Fits(h.syn) == FitExact && r.ICMP.Final() {
			return nil, true, fmt.Errorf("%w: %v", ErrUnreachable, r.ICMP)
		}
		return nil, false, nil
	}
	s := r.Segment
	if !sameEnds(s.From, h.syn.To) || !sameEnds(s.To, h.syn.From) {
		return nil, false, nil
	}
	acknowledged := s.Flags.Has(ACK) && s.Ack == h.syn.Seq+1
	switch {
	case s.Flags.Has(RST):
		if acknowledged || h.peer != nil && s.Seq == h.peer.Seq+1 {
			return nil, true, refusal{syscall.ECONNREFUSED, fmt.Sprintf("%s with sequence number %d", s.Kind(), s.Seq)}
		}
		return nil, false, nil
	case s.Flags.Has(SYN) && (acknowledged || !s.Flags.Has(ACK)):
		h.learn(s)
	}
	switch {
	case h.peer == nil:
		return nil, false, nil
	case acknowledged:
		return h.ack(), true, nil
	case s.Flags.Has(SYN) && !s.Flags.Has(ACK):
		return h.synAck(), false, nil
	}
	return nil, false, nil
}

// learn keeps a peer's SYN apart from the buffer it was read into.
func (h *handshake) learn(s Segment) {
	s.Options = append(TCPOptions(nil), s.Options...)
	s.Payload = nil
	h.peer = &s
}

// next is the segment that waits for an answer: it is sent again until one comes.
func (h *handshake) next() *Segment {
	if h.peer != nil {
		return h.synAck()
	}
	return &h.syn
}

// synAck repeats the SYN with an acknowledgement, and with those of its options
// that the peer has, too (RFC 7323, RFC 2018).
func (h *handshake) synAck() *Segment {
	s := h.syn
	s.Flags, s.Ack = SYN|ACK, h.peer.Seq+1
	agreed := agree(h.syn.Options, h.peer.Options)
	s.Options = agreed.answer()
	return &s
}

func (h *handshake) ack() *Segment {
	s := h.syn
	s.Flags, s.Seq, s.Ack = ACK, h.syn.Seq+1, h.peer.Seq+1
	s.Options = nil
	agreed := agree(h.syn.Options, h.peer.Options)
	if agreed.timestamps {
		s.Options = s.Options.NOP().NOP().Timestamps(agreed.stamp, agreed.peerStamp)
	}
	if agreed.scaled {
		s.Window >>= agreed.scale
	}
	return &s
}

// reset ends the connection at a peer that may take it for one: its next
// expected number is the one after our SYN (RFC 5961 section 3.2).
func (h *handshake) reset() *Segment {
	s := h.syn
	s.Flags, s.Seq, s.Window, s.Options = RST, h.syn.Seq+1, 0, nil
	if h.peer != nil {
		s.Flags, s.Ack = RST|ACK, h.peer.Seq+1
	}
	return &s
}

// agreement is what the options of two SYNs come to.
type agreement struct {
	mss, ownMSS      uint16 // the peer's, and ours; 0 where not given
	scaled           bool
	scale, peerScale uint8
	sack             bool
	timestamps       bool
	stamp, peerStamp uint32
}

// maxWindowScale is the most of RFC 7323 section 2.3.
const maxWindowScale = 14

func agree(own, peer TCPOptions) (a agreement) {
	if data, ok := peer.find(optionMSS, 2); ok {
		a.mss = uint16(data[0])<<8 | uint16(data[1])
	}
	if data, ok := own.find(optionMSS, 2); ok {
		a.ownMSS = uint16(data[0])<<8 | uint16(data[1])
	}
	mine, ok := own.find(optionWindowScale, 1)
	theirs, both := peer.find(optionWindowScale, 1)
	if ok && both {
		a.scaled, a.scale, a.peerScale = true, min(mine[0], maxWindowScale), min(theirs[0], maxWindowScale)
	}
	_, ok = own.find(optionSACKPermitted, 0)
	_, both = peer.find(optionSACKPermitted, 0)
	a.sack = ok && both
	mine, ok = own.find(optionTimestamps, 8)
	theirs, both = peer.find(optionTimestamps, 8)
	if ok && both {
		a.timestamps, a.stamp, a.peerStamp = true, stampOf(mine), stampOf(theirs)
	}
	return a
}

// answer are the options of a SYN-ACK.
func (a agreement) answer() (o TCPOptions) {
	if a.ownMSS != 0 {
		o = o.MSS(a.ownMSS)
	}
	if a.sack {
		o = o.SACKPermitted()
	}
	if a.timestamps {
		o = o.Timestamps(a.stamp, a.peerStamp)
	}
	if a.scaled {
		o = o.NOP().WindowScale(a.scale)
	}
	return o
}

func stampOf(data []byte) uint32 {
	return uint32(data[0])<<24 | uint32(data[1])<<16 | uint32(data[2])<<8 | uint32(data[3])
}

// checkOpening checks the two SYNs, or SYN-ACKs, of an opening.
func checkOpening(own, peer Segment) error {
	switch {
	case !own.Flags.Has(SYN) || !peer.Flags.Has(SYN):
		return errors.New("want the SYN or SYN-ACK of either end")
	case !sameEnds(own.From, peer.To) || !sameEnds(own.To, peer.From):
		return fmt.Errorf("%v to %v and %v to %v are not the ends of one connection", own.From, own.To, peer.From, peer.To)
	}
	return nil
}
