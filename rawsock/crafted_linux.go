package rawsock

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Crafted is one end of a connection whose handshake is crafted. What it needs
// is made beforehand, so that the SYN can leave at an instant and nothing can
// fail for lack of a privilege once it has. One goroutine uses it.
type Crafted struct {
	handshake
	options  Options
	guard    *Guard
	receiver *receiver
	sender   *Sender
	adoption *adoption
	volley   *Volley
	settled  bool // the peer has nothing that a reset should end
	closed   bool
}

// OpenCrafted guards the local endpoint and prepares everything; no segment
// leaves. Close must be called in any case. Errors: a PrivilegeError,
// ErrPortInUse.
func OpenCrafted(c CraftedConfig) (*Crafted, error) {
	o := &Crafted{options: c.Socket, settled: true}
	if err := o.open(c); err != nil {
		o.Close()
		return nil, fmt.Errorf("open crafted %v to %v: %w", c.Local, c.Remote, err)
	}
	return o, nil
}

func (o *Crafted) open(c CraftedConfig) (err error) {
	local, remote := unmap(c.Local), unmap(c.Remote)
	if o.guard, err = OpenGuard(local); err != nil {
		return err
	}
	local = o.guard.Local()
	if o.adoption, err = openAdoption(local); err != nil {
		return err
	}
	if o.sender, err = OpenSender(local.Addr(), c.Socket); err != nil {
		return err
	}
	if o.receiver, err = openReceiver(local, remote); err != nil {
		return err
	}
	if o.syn, err = c.segment(local, remote); err != nil {
		return err
	}
	first := o.syn
	if c.TTL != 0 {
		first.TTL = c.TTL
	}
	if c.Peer != nil {
		o.learn(*c.Peer)
	}
	o.volley, err = o.sender.Load([]Segment{first})
	return err
}

// defaultWindow is what Linux gives in a SYN: 44 segments of 1460 bytes.
const defaultWindow = 64240

// defaultScale is that of Linux with its usual buffers.
const defaultScale = 7

// segment is the SYN as it goes all the way.
func (c CraftedConfig) segment(local, remote netip.AddrPort) (Segment, error) {
	if c.Socket.TTL < 0 || c.Socket.TTL > 255 {
		return Segment{}, fmt.Errorf("TTL %d: want 1 to 255, or 0", c.Socket.TTL)
	}
	s := Segment{From: local, To: remote, Flags: SYN, Seq: c.ISN, Window: c.Window, Options: c.Options,
		TTL: uint8(c.Socket.TTL), DontFragment: local.Addr().Is4()}
	if s.Seq == 0 {
		s.Seq = randomNumber()
	}
	if s.Window == 0 {
		s.Window = defaultWindow
	}
	if s.Options == nil {
		mss, err := segmentSize(local.Addr(), remote)
		if err != nil {
			return s, err
		}
		s.Options = TCPOptions(nil).MSS(mss).SACKPermitted().Timestamps(randomNumber(), 0).NOP().WindowScale(defaultScale)
	}
	return s, nil
}

func randomNumber() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.NativeEndian.Uint32(b[:])
}

// segmentSize is what fits into a packet of the route's MTU, which a UDP socket
// knows once it is connected.
func segmentSize(local netip.Addr, remote netip.AddrPort) (uint16, error) {
	level, option, headers := unix.IPPROTO_IP, unix.IP_MTU, ipv4Header+tcpHeader
	if local.Is6() {
		level, option, headers = unix.IPPROTO_IPV6, unix.IPV6_MTU, ipv6Header+tcpHeader
	}
	router, err := newRouter(local)
	if err != nil {
		return 0, err
	}
	defer unix.Close(router)
	var to sockaddr
	if err := to.set(remote); err != nil {
		return 0, err
	}
	if errno := lookUp(router, &to); errno != 0 {
		return 0, explain(errno)
	}
	mtu, err := unix.GetsockoptInt(router, level, option)
	if err != nil {
		return 0, os.NewSyscallError("get IP_MTU", err)
	}
	return uint16(min(max(mtu-headers, defaultMSS4), 65535)), nil
}

// Local is the own end, with its port.
func (o *Crafted) Local() netip.AddrPort { return o.syn.From }

// ISN is the own initial sequence number.
func (o *Crafted) ISN() uint32 { return o.syn.Seq }

// SYN is the SYN as its receiver would see it, to be told to a peer that does
// not get it.
func (o *Crafted) SYN() Segment { return o.syn }

// Shot is the SYN for a Launchpad, in place of SendSYN.
func (o *Crafted) Shot() Shot {
	o.settled = false
	return Shot{Volley: o.volley}
}

// SendSYN sends the SYN now.
func (o *Crafted) SendSYN() error {
	o.settled = false
	return o.volley.explain(o.volley.fire())
}

// resendAfter is the retransmission timeout of RFC 6298 section 2 without a
// measured round trip. It is not doubled: a peer may come late.
const resendAfter = time.Second

// Wait goes on with the handshake after the SYN until it is complete, and
// returns the connection, which belongs to the kernel from then on. The segment
// that has not been answered is sent again every second. Errors: ErrRefused,
// ErrUnreachable, ctx.Err().
func (o *Crafted) Wait(ctx context.Context) (net.Conn, error) {
	if o.closed {
		return nil, ErrClosed
	}
	if o.peer != nil { // and not by having arrived
		if err := o.send(o.next()); err != nil {
			return nil, err
		}
	}
	resend := time.Now().Add(resendAfter)
	for {
		packet, err := o.receiver.next(ctx, resend)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			resend = time.Now().Add(resendAfter)
			if err := o.send(o.next()); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if over, err := o.take(packet); over {
			return o.conclude(err)
		}
	}
}

// take lets the handshake hear a packet and sends its answer. The last answer is
// left to the adoption.
func (o *Crafted) take(packet []byte) (over bool, err error) {
	reply, err := ParseReply(packet)
	if err != nil {
		return false, nil // ICMP about something else
	}
	answer, over, err := o.heard(reply)
	if answer != nil && !over {
		err = o.send(answer)
		over = err != nil
	}
	return over, err
}

func (o *Crafted) conclude(err error) (net.Conn, error) {
	o.settled = errors.Is(err, ErrRefused)
	if err != nil {
		return nil, fmt.Errorf("crafted handshake %v to %v: %w", o.syn.From, o.syn.To, err)
	}
	conn, err := o.adoption.complete(o.sender, o.handshake, o.options)
	if err != nil {
		return nil, err
	}
	o.settled = true
	return conn, nil
}

func (o *Crafted) send(s *Segment) error {
	_, err := o.sender.Send(*s)
	return err
}

// Close frees everything but a connection that Wait returned. If there is none
// and something was sent, a reset goes to the peer first.
func (o *Crafted) Close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	var errs []error
	if !o.settled {
		errs = append(errs, o.send(o.reset()))
	}
	if o.adoption != nil {
		o.adoption.close()
	}
	if o.receiver != nil {
		o.receiver.close()
	}
	if o.sender != nil {
		errs = append(errs, o.sender.Close())
	}
	if o.guard != nil {
		errs = append(errs, o.guard.Close())
	}
	return errors.Join(errs...)
}
