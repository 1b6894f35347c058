package punch

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"tcppunch/cmd/internal/rendezvous"
	"tcppunch/timing"
)

// Each datagram of the exchange is
//
//	magic (4) | state (1) | sender's nonce (16) | the receiver's nonce, or zeros (16) | Ed25519 signature (64)
//
// The signature covers everything before it, both keys in their direction, and
// the introduction, so that a datagram is of no use in another meeting or to
// anybody else. One that repeats this side's fresh nonce was made by the
// holder of the peer's key after it had got a datagram of this side: it
// proves the key and that packets pass both ways, now. It proves nothing of
// datagrams that would follow, which nothing protects.
const (
	datagramMagic = "tpu1" // as a STUN message it would be invalid: its first two bits are 01
	datagramSize  = len(datagramMagic) + 1 + 2*nonceSize + ed25519.SignatureSize
	signedSize    = datagramSize - ed25519.SignatureSize
)

// What a side has got so far, as it tells the other.
const (
	silent  = iota // nothing
	heard          // a datagram that the peer's key signed
	proof          // one that repeats its own nonce
	settled        // one by which the peer says that it has its proof too
)

const (
	datagramEvery = 50 * time.Millisecond // between retransmissions
	farewell      = time.Second           // how long a settled side answers one that is not
)

type nonce [nonceSize]byte

// datagramExchange is both sides' proof of their keys over datagrams.
type datagramExchange struct {
	own     *rendezvous.Identity
	peerKey rendezvous.KeyID
	session string
	conn    *net.UDPConn
	aims    []aimed

	nonce, theirs nonce
	state         byte
	peerState     byte
	peer          netip.AddrPort // where the peer's signed datagrams come from
	sent, forged  int
	answered      timing.Instant // when the own nonce came back; 0: not yet
	proven        timing.Instant // when the peer was known to have its proof too
}

// aimed is a remote address and how many datagrams it may still cost.
type aimed struct {
	remote netip.AddrPort
	left   int
}

func newDatagramExchange(own *rendezvous.Identity, peer rendezvous.KeyID, session string, conn *net.UDPConn) *datagramExchange {
	e := &datagramExchange{own: own, peerKey: peer, session: session, conn: conn}
	rand.Read(e.nonce[:])
	return e
}

// run sends and receives until both sides are settled, or time is up. The error
// is the system's, of the last datagram that could not leave.
func (e *datagramExchange) run(ctx context.Context, began timing.Instant, timeout time.Duration) (err error) {
	defer e.conn.SetReadDeadline(time.Time{})
	end, next := began.Add(timeout), began
	buffer := make([]byte, datagramSize+1)
	for turn := began; turn < end && e.peerState < settled && ctx.Err() == nil; turn = timing.Now() {
		if turn >= next {
			err = e.send()
			next = turn.Add(datagramEvery)
		}
		before := e.state
		e.receive(buffer, next.Sub(timing.Now()))
		if e.state != before {
			next = timing.Now() // the peer learns of it at once
		}
		if before < settled && e.state == settled {
			end = next.Add(farewell)
		}
	}
	if e.state == settled {
		e.send() // the peer may still wait for the last word
	}
	return err
}

// send lets one datagram leave to each address at which the peer may be, or to
// the peer alone once it was heard: then what is left for any address is for it.
func (e *datagramExchange) send() (failure error) {
	message := e.compose()
	for i := range e.aims {
		a := &e.aims[i]
		if a.left == 0 {
			continue
		}
		to := a.remote
		if e.peer.IsValid() {
			to = e.peer
		}
		if _, err := e.conn.WriteToUDPAddrPort(message, to); err != nil {
			failure = fmt.Errorf("send a datagram: %w", err)
			continue
		}
		a.left--
		e.sent++
		if e.peer.IsValid() {
			return nil
		}
	}
	return failure
}

func (e *datagramExchange) compose() []byte {
	b := append([]byte(datagramMagic), e.state)
	b = append(append(b, e.nonce[:]...), e.theirs[:]...)
	return append(b, ed25519.Sign(e.own.Key, e.signed(b, e.own.ID(), e.peerKey))...)
}

// signed is what a signature covers.
func (e *datagramExchange) signed(b []byte, from, to rendezvous.KeyID) []byte {
	return fmt.Appendf(nil, "tcppunch datagram 1\x00%s\x00%s\x00%s\x00%s", from, to, e.session, b)
}

// receive takes one datagram, or waits.
func (e *datagramExchange) receive(buffer []byte, wait time.Duration) {
	e.conn.SetReadDeadline(time.Now().Add(max(wait, 0)))
	n, from, err := e.conn.ReadFromUDPAddrPort(buffer)
	if err != nil {
		return
	}
	e.take(buffer[:n], unmapped(from))
}

// take looks at a datagram. It may come from any port of an address that this
// side aims at: a NAT may have given the peer another port than was predicted.
func (e *datagramExchange) take(b []byte, from netip.AddrPort) {
	expected := func(a aimed) bool { return a.remote.Addr() == from.Addr() }
	if len(b) != datagramSize || !bytes.HasPrefix(b, []byte(datagramMagic)) || !slices.ContainsFunc(e.aims, expected) {
		return
	}
	if !ed25519.Verify(e.peerKey.PublicKey(), e.signed(b[:signedSize], e.peerKey, e.own.ID()), b[signedSize:]) {
		e.forged++
		return
	}
	state, rest := b[len(datagramMagic)], b[len(datagramMagic)+1:]
	theirs, echo := nonce(rest), nonce(rest[nonceSize:])
	if e.state == silent {
		e.theirs, e.peer, e.state = theirs, from, heard
	}
	if theirs != e.theirs || echo != e.nonce {
		return
	}
	e.learn(state)
}

// learn takes in what a datagram that repeats the own nonce says.
func (e *datagramExchange) learn(state byte) {
	now := timing.Now()
	if e.state == heard {
		e.state, e.answered = proof, now
	}
	if state >= proof && e.state == proof {
		e.state, e.proven = settled, now
	}
	e.peerState = max(e.peerState, state)
}
