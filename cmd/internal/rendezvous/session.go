package rendezvous

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// session is one peer's connection. The fields below mu's comment belong to
// the coordinator's lock.
type session struct {
	coordinator *Coordinator
	conn        *tls.Conn
	key         KeyID
	observed    netip.AddrPort
	local       netip.Addr // this host, as the peer has reached it
	out         chan message
	ended       chan struct{}
	endOnce     sync.Once
	back        dialBack

	// Under coordinator.mu:
	name, token string
	wants       string
	wantsKey    KeyID
	partner     *session
	offer       *SignedOffer
	agreed      bool
	reflexive   []netip.AddrPort
	forecast    *SignedForecast // of the round that is being agreed on
	forecasts   int             // made so far
}

// run serves the connection until it ends.
func (s *session) run() {
	var writer sync.WaitGroup
	writer.Go(s.write)
	s.read()
	s.end()
	s.back.close()
	s.coordinator.leave(s)
	writer.Wait()
}

func (s *session) end() { s.endOnce.Do(func() { close(s.ended) }) }

// read handles one message after the other. A refusal is the last message that
// a peer gets.
func (s *session) read() {
	for {
		s.conn.SetReadDeadline(time.Now().Add(idleTimeout))
		m, err := readFrame(s.conn)
		at := s.coordinator.cfg.Now()
		if err != nil {
			return
		}
		if err := s.serve(m, at); err != nil {
			var refusal *Error
			if errors.As(err, &refusal) {
				s.fail(refusal)
			}
			<-s.ended
			return
		}
	}
}

func (s *session) serve(m message, at time.Time) error {
	c := s.coordinator
	switch {
	case m.Time != nil:
		s.push(message{Time: &timeExchange{Origin: m.Time.Origin, Receive: at.UnixNano()}})
		return nil
	case m.Probe != nil:
		s.back.serve(s, *m.Probe)
		return nil
	case m.Register != nil && m.Register.Guest:
		return c.admit(s)
	case m.Register != nil:
		if err := CheckName(m.Register.Name); err != nil {
			return &Error{KindBadRequest, err.Error()}
		}
		return c.register(s, m.Register.Name)
	case m.Meet != nil:
		return c.meet(s, *m.Meet)
	case m.Offer != nil:
		return c.offer(s, *m.Offer)
	case m.Forecast != nil:
		return c.forecast(s, *m.Forecast)
	}
	return &Error{KindBadRequest, "the coordinator does not know this message"}
}

// push queues a message. A peer that does not read is dropped.
func (s *session) push(m message) {
	select {
	case s.out <- m:
	default:
		s.end()
	}
}

// fail sends a refusal and ends the session.
func (s *session) fail(refusal *Error) { s.push(message{Error: refusal}) }

// write sends what is queued. Time exchanges are stamped as late as possible.
func (s *session) write() {
	defer s.conn.Close()
	defer s.end()
	for {
		select {
		case <-s.ended:
			return
		case m := <-s.out:
			s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if m.Time != nil {
				m.Time.Transmit = s.coordinator.cfg.Now().UnixNano()
			}
			if writeFrame(s.conn, m) != nil || m.Error != nil {
				return
			}
		}
	}
}

// CheckName refuses names that could not be shown or stored safely: they are 1
// to 64 bytes of printable UTF-8 without spaces, slashes or @, and do not
// begin with a dot.
func CheckName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || name[0] == '.' {
		return errBadName
	}
	for _, r := range name {
		if !unicode.IsPrint(r) || unicode.IsSpace(r) || r == '/' || r == '\\' || r == '@' || r == ':' {
			return errBadName
		}
	}
	return nil
}

var errBadName = errors.New("a name is 1 to 64 bytes of printable characters without spaces, '/', '\\', ':' or '@', and does not begin with a dot")
