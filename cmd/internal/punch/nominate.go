package punch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// alpn is the protocol word on the punched socket.
const alpn = "tcppunch-peer/1"

// accepted is the first thing that the TLS server sends: it has seen the
// client's key and accepts it. A client that has finished its own handshake
// does not know that yet (RFC 8446 section 4.4.2.4 lets the server still
// refuse the certificate).
const accepted = "tcppunch accepted\n"

// nominated is the socket that both sides use from now on.
type nominated struct {
	runner *runner
	conn   net.Conn
	rtt    *time.Duration
	at     timing.Instant
}

// race authenticates what stands of the at most so many connections that follow
// hands over, and returns the nominated one, or nil. The TLS client nominates: it
// authenticates one socket at a time, in the order in which they stand; the
// server answers on all of them. A socket on which nothing comes back is given up
// soon after another one stands: where a NAT has taken a reset for the end, TCP
// stands at both ends and nothing passes between them.
func (m *meeting) race(ctx context.Context, p plan, most int, follow func(context.Context) <-chan *runner) *nominated {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Timeout)
	defer cancel()
	won := make(chan *nominated, most)
	var all sync.WaitGroup
	all.Go(func() {
		var handshakes sync.WaitGroup
		defer handshakes.Wait()
		release := func() {}
		for r := range follow(ctx) {
			if p.client {
				release()
			}
			own, giveUp := context.WithCancel(ctx)
			done := make(chan struct{})
			handshakes.Go(func() {
				defer close(done)
				defer giveUp()
				m.authenticate(own, p, r, won)
			})
			release = func() { awaitOrGiveUp(done, handshakePatience+4*p.delay, giveUp) }
		}
	})
	go func() {
		all.Wait()
		close(won)
	}()
	first := <-won
	cancel()
	for late := range won { // closes when every goroutine has ended
		late.conn.Close()
	}
	return first
}

// handshakePatience is how long a handshake goes on beside another socket that
// stands, besides four round trips: two are what it takes.
const handshakePatience = 300 * time.Millisecond

// awaitOrGiveUp waits for a handshake to end, and ends it after a while.
func awaitOrGiveUp(done <-chan struct{}, patience time.Duration, giveUp func()) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		giveUp()
		<-done
	}
}

// authenticate carries out the mutual TLS exchange on a socket that stands.
func (m *meeting) authenticate(ctx context.Context, p plan, r *runner, won chan<- *nominated) {
	if ctx.Err() != nil {
		r.socket.Close()
		return
	}
	raw, err := r.socket.Conn()
	if err != nil {
		r.failure = err
		return
	}
	m.trace(Nominate, "TCP stands between %s and %s", raw.LocalAddr(), raw.RemoteAddr())
	watch := &stopwatch{Conn: raw}
	conn, err := m.secure(ctx, raw, watch, p)
	if err != nil {
		raw.Close()
		r.failure, r.unproven = fmt.Errorf("the peer did not prove its key: %w", err), true
		return
	}
	if m.cfg.Ready != nil {
		m.cfg.Ready(conn)
	}
	won <- &nominated{runner: r, conn: conn, rtt: watch.rtt, at: timing.Now()}
}

// secure authenticates a raw connection: with the keys and roles of the
// schedule, or with those that the secret of an appointment gives. TLS runs over
// watched, which is the raw connection with a stopwatch.
func (m *meeting) secure(ctx context.Context, raw, watched net.Conn, p plan) (*tls.Conn, error) {
	if m.keys == nil {
		return exchange(ctx, watched, p.client, m.cfg.Identity, p.peerKey)
	}
	client, err := drawRoles(ctx, raw)
	if err != nil {
		return nil, err
	}
	own, peer := m.keys.server, m.keys.client
	if client {
		own, peer = peer, own
	}
	return exchange(ctx, watched, client, own, peer.ID())
}

// exchange makes TLS 1.3 of a raw connection, with both keys proven and the
// server's confirmation read. When it returns, both sides know each other.
func exchange(ctx context.Context, raw net.Conn, client bool, own *rendezvous.Identity, peer rendezvous.KeyID) (*tls.Conn, error) {
	cfg := own.TLS(peer, alpn)
	conn := tls.Server(raw, cfg)
	if client {
		conn = tls.Client(raw, cfg)
	}
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if client {
		if err := awaitAcceptance(conn); err != nil {
			return nil, err
		}
	} else if _, err := io.WriteString(conn, accepted); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return conn, nil
}

func awaitAcceptance(conn *tls.Conn) error {
	word := make([]byte, len(accepted))
	if _, err := io.ReadFull(conn, word); err != nil {
		return fmt.Errorf("no confirmation from the peer: %w", err)
	}
	if string(word) != accepted {
		return errors.New("the peer's confirmation is malformed")
	}
	return nil
}

// stopwatch measures the round trip of a handshake: from the end of the last
// write before the first read that has to wait for an answer, until that. It
// looks once only, because later reads may find what had already arrived; then
// it leaves the connection alone, so that several goroutines can use it.
type stopwatch struct {
	net.Conn
	wrote timing.Instant
	rtt   *time.Duration
}

func (s *stopwatch) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	if s.rtt == nil {
		s.wrote = timing.Now()
	}
	return n, err
}

func (s *stopwatch) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.rtt == nil && s.wrote != 0 {
		s.rtt = pointer(timing.Now().Sub(s.wrote))
	}
	return n, err
}
