// Package timingtest answers the question WHEN wrongly, by as much as a test
// asks for: a small SNTP responder (RFC 4330, RFC 5905) with a chosen clock
// error, path delays, stratum and refusals.
//
// Its own error is that of the kernel's receive stamps on Linux, a few
// microseconds; on other platforms it is the time a goroutine takes to wake.
//
// Read message.go next for what goes over the wire.
package timingtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a responder. Its zero value tells the wall clock's time as a
// primary server. The fields must not change while it serves.
type Server struct {
	Offset         time.Duration // the server's clock minus the wall clock
	RequestDelay   time.Duration // added to the way to the server
	ReplyDelay     time.Duration // added to the way back
	Processing     time.Duration // between receive and transmit time
	Stratum        int           // 0 means 1, unless there is a KissCode
	Unsynchronised bool          // leap indicator 3 and stratum 0, as servers do that do not know the time
	KissCode       string        // four letters, such as RATE: every answer is a kiss-o'-death
	KissAfter      int           // answers properly before the first kiss
	RootDelay      time.Duration
	RootDispersion time.Duration
	Silent         bool             // receives and never answers
	Now            func() time.Time // wall clock instead of time.Now; disables kernel stamps

	requests atomic.Int64
}

// Requests is how many requests have come so far.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// Serve answers requests on conn, IPv4 or IPv6, until ctx ends or conn fails,
// then closes conn. It returns nil when ctx ended.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	var answers sync.WaitGroup
	defer answers.Wait()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	p := newPort(conn, s.Now)
	for {
		b := make([]byte, 512)
		n, from, at, err := p.read(b)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if isTransient(err) {
				continue
			}
			return fmt.Errorf("serve time: %w", err)
		}
		request, ok := parseRequest(b[:n])
		if !ok {
			continue
		}
		number := int(s.requests.Add(1))
		if s.Silent {
			continue
		}
		if s.RequestDelay+s.Processing+s.ReplyDelay == 0 {
			s.answer(ctx, p, request, number, from, at)
			continue
		}
		answers.Go(func() { s.answer(ctx, p, request, number, from, at) })
	}
}

// answer sends the reply to a request that came at that time. The delays are
// waited for, so that a client sees them with its own clock.
func (s *Server) answer(ctx context.Context, p port, r request, number int, from netip.AddrPort, at time.Time) {
	received := at.Add(s.RequestDelay)
	if !pause(ctx, received.Add(s.Processing).Sub(p.now())) {
		return
	}
	reply := s.reply(r, number, received)
	sent := p.now()
	reply.transmit = stamp(sent.Add(s.Offset))
	if !pause(ctx, s.ReplyDelay) {
		return
	}
	p.write(reply.encode(), from)
}

// pause reports whether it lasted.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) reply(r request, number int, received time.Time) message {
	m := message{
		version: r.version, stratum: byte(max(s.Stratum, 1)), poll: r.poll, precision: -20, reference: "TEST",
		rootDelay: short(s.RootDelay), rootDispersion: short(s.RootDispersion),
		updated: stamp(received.Add(s.Offset - time.Second)), origin: r.transmit, receive: stamp(received.Add(s.Offset)),
	}
	switch {
	case s.KissCode != "" && number > s.KissAfter:
		m.leap, m.stratum, m.reference = 3, 0, s.KissCode
	case s.Unsynchronised:
		m.leap, m.stratum, m.reference = 3, 0, ""
	}
	return m
}

// isTransient tells errors that earlier answers cause: an ICMP error of a
// client that has gone away.
func isTransient(err error) bool {
	return !errors.Is(err, net.ErrClosed) && errors.Is(err, errRefused)
}
