// Package rawsock answers HOW: it makes active TCP opens from a fixed local
// port with the kernel's own connect(), controls the socket options that
// decide whether two of them meet, and taps the wire to see what happened.
//
// Read [Socket] next, then [Tap]; [Dial] is the blocking convenience on top.
//
// Hazards: a socket in SYN-SENT must never be closed and replaced within a
// round trip of its SYN, since two initial sequence numbers on one 4-tuple
// wedge both ends for over a second; retry on the same Socket after
// [ErrRefused] instead. [Options.MinTTL] helps only if both ends use it, and
// hides resets from diagnosis; [HiddenResets] counts the hidden ones.
package rawsock

import (
	"errors"
	"time"
)

// Options are the socket options of a punch. A field that is zero stands for
// the kernel's default.
type Options struct {
	// TTL is IP_TTL, or IPV6_UNICAST_HOPS: the hop limit of what is sent, 1 to 255.
	TTL int
	// MinTTL is IP_MINTTL, or IPV6_MINHOPCOUNT: segments that arrive with
	// less are dropped and counted by HiddenResets, 1 to 255.
	MinTTL int
	// SynCount is TCP_SYNCNT: how often the kernel retransmits a SYN, 1 to 127. Since
	// Linux 6.5 it makes up to tcp_syn_linear_timeouts more: for 1 it makes 2.
	SynCount int
	// UserTimeout is TCP_USER_TIMEOUT in steps of 1 ms.
	UserTimeout time.Duration
	// Device is SO_BINDTODEVICE: the name of the only interface to use.
	Device string
	// Mark is SO_MARK; setting it needs CAP_NET_ADMIN.
	Mark int
}

// Reasons for which an open ends, for errors.Is. The system's error number is
// wrapped beside them, so that errors.Is(err, unix.EADDRNOTAVAIL) works too.
var (
	// ErrRefused says that a reset arrived, or an ICMP port unreachable, which
	// the kernel reports alike. The same Socket may Connect again on Linux.
	ErrRefused = errors.New("connection refused")
	// ErrUnreachable says that an ICMP error or the own routing table ended the open.
	ErrUnreachable = errors.New("destination unreachable")
	// ErrTimeout says that all retransmissions of the SYN went unanswered.
	ErrTimeout = errors.New("no answer to any SYN")
	// ErrPortInUse says that another socket holds the local port, or that the
	// kernel still remembers a connection between the same two endpoints.
	ErrPortInUse = errors.New("local port in use")
	// ErrClosed says that Close or Abort ended the Socket, or Conn used it up.
	ErrClosed = errors.New("socket closed")
)

// refusal is an ErrRefused with its error number, which says the same in the
// same words.
type refusal struct {
	number error  // wraps ECONNREFUSED
	how    string // what refused, where that was seen
}

func (r refusal) Error() string {
	if r.how == "" {
		return ErrRefused.Error()
	}
	return ErrRefused.Error() + ": " + r.how
}

func (r refusal) Unwrap() []error { return []error{ErrRefused, r.number} }
