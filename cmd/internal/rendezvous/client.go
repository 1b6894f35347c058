package rendezvous

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"tcppunch/timing"
)

// keepAlive is how often a waiting client speaks, well inside the
// coordinator's idle time.
const keepAlive = idleTimeout / 4

// Client is one peer's connection to a coordinator. One goroutine may use it
// at a time, apart from Close, Waiting, the time Source and the DialBack.
type Client struct {
	conn     *tls.Conn
	clock    *timing.Clock
	writeMu  sync.Mutex
	timeMu   sync.Mutex
	times    chan timing.Sample
	events   chan message
	done     chan struct{} // closed when the reader has ended
	reason   error         // why it ended; read after done
	lastTold atomic.Value  // string: the newest reason for which the peer is not there
	asked    questions     // of the dial-back, not answered yet
}

// Dial connects to a coordinator and checks its key. Its errors are of type
// *Error, with KindUnreachable or KindWrongKey.
func Dial(ctx context.Context, addr Address, identity *Identity, clock *timing.Clock) (*Client, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", addr.HostPort())
	if err != nil {
		return nil, dialFailure(ctx, addr, err)
	}
	conn := tls.Client(raw, identity.TLS(addr.Key, alpn))
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, dialFailure(ctx, addr, err)
	}
	c := &Client{
		conn: conn, clock: clock, times: make(chan timing.Sample, 1),
		events: make(chan message, sendQueue), done: make(chan struct{}),
	}
	go c.read()
	return c, nil
}

func dialFailure(ctx context.Context, addr Address, err error) error {
	if errors.Is(err, ErrWrongKey) {
		return &Error{KindWrongKey, fmt.Sprintf("the coordinator at %s does not have the key that was named: %v", addr.HostPort(), err)}
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{KindUnreachable, fmt.Sprintf("no coordinator answers at %s: %v", addr.HostPort(), err)}
}

// Close ends the connection and waits for the reader.
func (c *Client) Close() error {
	err := c.conn.NetConn().Close()
	<-c.done
	return err
}

// Remote is the address at which the coordinator was reached.
func (c *Client) Remote() netip.AddrPort {
	return unmap(c.conn.RemoteAddr().(*net.TCPAddr).AddrPort())
}

// Local is this host's end of the connection.
func (c *Client) Local() netip.AddrPort {
	return unmap(c.conn.LocalAddr().(*net.TCPAddr).AddrPort())
}

// read distributes what the coordinator sends, until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	for {
		m, err := readFrame(c.conn)
		arrived := timing.Now()
		m.tame()
		if err != nil {
			c.reason = &Error{KindLost, fmt.Sprintf("the connection to the coordinator ended: %v", err)}
			return
		}
		if m.Time != nil {
			c.deliver(c.sample(*m.Time, arrived))
			continue
		}
		if m.Probed != nil {
			c.asked.answer(*m.Probed)
			continue
		}
		select {
		case c.events <- m:
		default:
			c.reason = &Error{KindLost, "the coordinator sent more than was asked for"}
			return
		}
		if m.Error != nil {
			c.reason = m.Error
			return
		}
	}
}

// tame makes the coordinator's sentences safe for a terminal: they are bounded,
// and hold no control characters.
func (m *message) tame() {
	if m.Waiting != nil {
		m.Waiting.Reason = printable(m.Waiting.Reason)
	}
	if m.Error != nil {
		m.Error.Message = printable(m.Error.Message)
	}
}

const maxSentence = 500 // bytes

func printable(s string) string {
	s = s[:min(len(s), maxSentence)]
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func (c *Client) deliver(s timing.Sample) {
	select {
	case c.times <- s:
	default: // nobody waits for it any more
	}
}

func (c *Client) sample(m timeExchange, arrived timing.Instant) timing.Sample {
	return timing.Sample{
		Server: CoordinatorSource,
		T1:     time.Unix(0, m.Origin), T2: time.Unix(0, m.Receive), T3: time.Unix(0, m.Transmit),
		T4: c.clock.At(arrived), Destination: arrived, Precision: timing.Precision(),
	}
}

func (c *Client) send(ctx context.Context, m message) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	deadline := time.Now().Add(writeTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	c.conn.SetWriteDeadline(deadline)
	if m.Time != nil {
		m.Time.Origin = c.clock.Now().UnixNano()
	}
	if err := writeFrame(c.conn, m); err != nil {
		c.conn.SetReadDeadline(time.Now().Add(lastWords))
		<-c.done // the coordinator may have said why before it left
		c.conn.NetConn().Close()
		return c.reason
	}
	return nil
}

// lastWords is how long after a failed write the coordinator's reason is read.
const lastWords = time.Second

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection ended, as *Error; nil while it stands.
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.reason
	default:
		return nil
	}
}

// Source is the coordinator's clock as a time source, over this connection.
func (c *Client) Source() timing.Source { return clientSource{c} }

type clientSource struct{ c *Client }

func (clientSource) Name() string { return CoordinatorSource }

// Sample makes one exchange of the four timestamps of RFC 5905.
func (s clientSource) Sample(ctx context.Context) (timing.Sample, error) {
	c := s.c
	c.timeMu.Lock()
	defer c.timeMu.Unlock()
	select {
	case <-c.times: // the late answer of an exchange that was given up
	default:
	}
	if err := c.send(ctx, message{Time: &timeExchange{}}); err != nil {
		return timing.Sample{}, err
	}
	select {
	case sample := <-c.times:
		return sample, nil
	case <-c.done:
		return timing.Sample{}, c.reason
	case <-ctx.Done():
		return timing.Sample{}, ctx.Err()
	}
}

// Register claims a name for this client's key.
func (c *Client) Register(ctx context.Context, name string) (Welcome, error) {
	return c.register(ctx, register{Name: name})
}

// Visit registers without a name, to be measured only.
func (c *Client) Visit(ctx context.Context) (Welcome, error) {
	return c.register(ctx, register{Guest: true})
}

func (c *Client) register(ctx context.Context, r register) (Welcome, error) {
	if err := c.send(ctx, message{Register: &r}); err != nil {
		return Welcome{}, err
	}
	m, err := c.next(ctx)
	if err != nil {
		return Welcome{}, err
	}
	if m.Welcome == nil {
		return Welcome{}, errOutOfTurn
	}
	return *m.Welcome, nil
}

// Meet asks for a peer and waits until it is there and asks for this one. key
// is the key that the peer must have, or empty. When ctx ends first, Waiting
// says why the peer is not there.
func (c *Client) Meet(ctx context.Context, peer string, key KeyID) (Presence, error) {
	if err := c.send(ctx, message{Meet: &meet{Peer: peer, Key: key}}); err != nil {
		return Presence{}, err
	}
	for {
		m, err := c.next(ctx)
		switch {
		case err != nil:
			return Presence{}, err
		case m.Waiting != nil:
			c.lastTold.Store(m.Waiting.Reason)
		case m.Present != nil && m.Present.Peer == peer:
			return *m.Present, nil
		default:
			return Presence{}, errOutOfTurn
		}
	}
}

// Waiting is the coordinator's newest reason for which the peer is not there.
func (c *Client) Waiting() string {
	reason, _ := c.lastTold.Load().(string)
	return reason
}

// Exchange sends this peer's offer and waits for the other's.
func (c *Client) Exchange(ctx context.Context, o SignedOffer) (Agreed, error) {
	if err := c.send(ctx, message{Offer: &o}); err != nil {
		return Agreed{}, err
	}
	m, err := c.next(ctx)
	if err != nil {
		return Agreed{}, err
	}
	if m.Agreed == nil {
		return Agreed{}, errOutOfTurn
	}
	return *m.Agreed, nil
}

// Foretell sends this peer's forecast of a round and waits for the other's.
func (c *Client) Foretell(ctx context.Context, f SignedForecast) (Foretold, error) {
	if err := c.send(ctx, message{Forecast: &f}); err != nil {
		return Foretold{}, err
	}
	m, err := c.next(ctx)
	if err != nil {
		return Foretold{}, err
	}
	if m.Forecasts == nil {
		return Foretold{}, errOutOfTurn
	}
	return *m.Forecasts, nil
}

var errOutOfTurn = &Error{KindBadRequest, "the coordinator answered out of turn"}

// next is the next message that is not about time. It keeps the connection
// alive while it waits, and prefers a message that has arrived to the news that
// the connection has ended.
func (c *Client) next(ctx context.Context) (message, error) {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case m := <-c.events:
			return refused(m)
		case <-tick.C:
			c.send(ctx, message{Time: &timeExchange{}})
		case <-ctx.Done():
			return message{}, ctx.Err()
		case <-c.done:
			select {
			case m := <-c.events:
				return refused(m)
			default:
				return message{}, c.reason
			}
		}
	}
}

func refused(m message) (message, error) {
	if m.Error != nil {
		return message{}, m.Error
	}
	return m, nil
}
