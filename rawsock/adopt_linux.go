package rawsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Adopt makes a connection of the kernel out of a handshake that was crafted:
// own is the SYN or SYN-ACK that was sent, peer the one that arrived. It sends
// the acknowledgement that the peer waits for. The guard of the endpoint, if
// there is one, may be closed afterwards. It needs CAP_NET_ADMIN and
// CAP_NET_RAW, else the error is a PrivilegeError; after an error the peer still
// has what it has, and should be sent a reset.
//
// The way is TCP_REPAIR, which was made to move connections between hosts: the
// kernel believes numbers and options, and connect() sends nothing.
func Adopt(own, peer Segment, o Options) (net.Conn, error) {
	if err := checkOpening(own, peer); err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	a, err := openAdoption(own.From)
	if err != nil {
		return nil, err
	}
	defer a.close()
	sender, err := OpenSender(own.From.Addr(), o)
	if err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	defer sender.Close()
	return a.complete(sender, handshake{syn: own, peer: &peer}, o)
}

// adoption is a bound socket in repair mode, which sends nothing, not even when
// it is closed.
type adoption struct {
	socket *Socket
	taken  bool
}

// openAdoption makes the socket. Repair mode comes first: it lets the bind pass
// over a guard of the endpoint, which SO_REUSEADDR would undo.
func openAdoption(local netip.AddrPort) (*adoption, error) {
	local = unmap(local)
	fd, err := newSocket(local)
	if err != nil {
		return nil, fmt.Errorf("adopt %v: %w", local, err)
	}
	a := &adoption{socket: &Socket{fd: fd, local: local}}
	if err := a.bind(); err != nil {
		a.close()
		return nil, fmt.Errorf("adopt %v: %w", local, err)
	}
	return a, nil
}

func (a *adoption) bind() error {
	if err := a.set("TCP_REPAIR", unix.TCP_REPAIR, repairOn); err != nil {
		return privilege(err, capNetAdmin)
	}
	var bound sockaddr
	if err := bound.set(a.socket.local); err != nil {
		return err
	}
	return bind(a.socket.fd, &bound)
}

func (a *adoption) set(name string, option, value int) error {
	return os.NewSyscallError("set "+name, unix.SetsockoptInt(a.socket.fd, unix.IPPROTO_TCP, option, value))
}

func (a *adoption) close() {
	if !a.taken {
		a.taken = true
		unix.Close(a.socket.fd)
	}
}

// Values of TCP_REPAIR and TCP_REPAIR_QUEUE (<linux/tcp.h>).
const (
	repairOn      = 1
	repairQuietly = -1 // off, without the probe that would tell the peer
	queueNone     = 0
	queueReceive  = 1
	queueSend     = 2
)

// complete establishes the connection, acknowledges the peer's SYN and lets the
// kernel go on.
func (a *adoption) complete(sender *Sender, h handshake, o Options) (net.Conn, error) {
	err := a.establish(h)
	if err == nil {
		err = a.socket.apply(o)
	}
	if err == nil {
		_, err = sender.Send(*h.ack())
	}
	if err == nil {
		err = a.set("TCP_REPAIR", unix.TCP_REPAIR, repairQuietly)
	}
	if err != nil {
		return nil, fmt.Errorf("adopt %v to %v: %w", h.syn.From, h.syn.To, err)
	}
	a.taken = true
	file := os.NewFile(uintptr(a.socket.fd), "tcp")
	defer file.Close()
	return net.FileConn(file)
}

// establish tells the kernel where both sequences stand and what was agreed on.
func (a *adoption) establish(h handshake) error {
	if err := setSequence(a.socket.fd, queueSend, h.syn.Seq+1); err != nil {
		return err
	}
	if err := setSequence(a.socket.fd, queueReceive, h.peer.Seq+1); err != nil {
		return err
	}
	if err := a.socket.remote.set(h.syn.To); err != nil {
		return err
	}
	if errno := a.socket.connect(); errno != 0 {
		return os.NewSyscallError("connect", errno)
	}
	agreed := agree(h.syn.Options, h.peer.Options)
	if err := a.setBytes("TCP_REPAIR_OPTIONS", unix.TCP_REPAIR_OPTIONS, agreed.repairOptions(a.socket.local.Addr().Is4())); err != nil {
		return err
	}
	if agreed.timestamps {
		// The stamps go on after the one that was sent. An odd number would stand
		// for a clock of microseconds (Linux 6.7).
		if err := a.set("TCP_TIMESTAMP", unix.TCP_TIMESTAMP, int(int32((agreed.stamp+2)&^1))); err != nil {
			return err
		}
	}
	if err := a.setBytes("TCP_REPAIR_WINDOW", unix.TCP_REPAIR_WINDOW, repairWindow(h)); err != nil {
		return err
	}
	return a.set("TCP_NODELAY", unix.TCP_NODELAY, 1)
}

// setSequence sets the next number of a queue of a socket in repair mode.
func setSequence(fd, queue int, next uint32) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queue); err != nil {
		return os.NewSyscallError("set TCP_REPAIR_QUEUE", err)
	}
	return os.NewSyscallError("set TCP_QUEUE_SEQ", unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ, int(int32(next))))
}

func (a *adoption) setBytes(name string, option int, value []byte) error {
	return os.NewSyscallError("set "+name, unix.SetsockoptString(a.socket.fd, unix.IPPROTO_TCP, option, string(value)))
}

// Least segment sizes where the peer names none (RFC 9293 section 3.7.1).
const (
	defaultMSS4 = 536
	defaultMSS6 = 1220
)

// repairOptions is a list of struct tcp_repair_opt: a kind and a value each. The
// scales are given in any case, since the kernel has chosen its own by now.
func (a agreement) repairOptions(v4 bool) (b []byte) {
	add := func(kind, value uint32) {
		b = binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(b, kind), value)
	}
	mss := a.mss
	switch {
	case mss == 0 && v4:
		mss = defaultMSS4
	case mss == 0:
		mss = defaultMSS6
	}
	add(optionMSS, uint32(mss))
	add(optionWindowScale, uint32(a.peerScale)|uint32(a.scale)<<16)
	if a.sack {
		add(optionSACKPermitted, 0)
	}
	if a.timestamps {
		add(optionTimestamps, 0)
	}
	return b
}

// repairWindow is struct tcp_repair_window: the number of the segment that set
// the window, the peer's window and the largest there was, ours, and what we
// have acknowledged. The windows of SYNs are not scaled (RFC 7323 section 2.2).
func repairWindow(h handshake) (b []byte) {
	window := uint32(h.peer.Window)
	for _, value := range []uint32{h.peer.Seq, window, window, uint32(h.syn.Window), h.peer.Seq + 1} {
		b = binary.NativeEndian.AppendUint32(b, value)
	}
	return b
}

// PresetISN chooses the initial sequence number of the next Connect, which then
// sends an ordinary SYN with it. It holds for one attempt. While an attempt is
// in progress, or has succeeded, it is an error. It needs CAP_NET_ADMIN, else
// the error is a PrivilegeError.
func (s *Socket) PresetISN(isn uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == connecting {
		s.collect()
	}
	switch {
	case s.state == closed:
		return ErrClosed
	case s.state != idle:
		return fmt.Errorf("preset the ISN of %v: %w", s.local, errors.New("an attempt is under way"))
	}
	if err := s.presetISN(isn); err != nil {
		return fmt.Errorf("preset the ISN of %v: %w", s.local, err)
	}
	return nil
}

func (s *Socket) presetISN(isn uint32) error {
	set := func(name string, level, option, value int) error {
		return os.NewSyscallError("set "+name, unix.SetsockoptInt(s.fd, level, option, value))
	}
	if err := set("TCP_REPAIR", unix.IPPROTO_TCP, unix.TCP_REPAIR, repairOn); err != nil {
		return privilege(err, capNetAdmin)
	}
	return errors.Join(
		setSequence(s.fd, queueSend, isn),
		set("TCP_REPAIR_QUEUE", unix.IPPROTO_TCP, unix.TCP_REPAIR_QUEUE, queueNone),
		set("TCP_REPAIR", unix.IPPROTO_TCP, unix.TCP_REPAIR, repairQuietly),
		// The end of repair mode clears it.
		set("SO_REUSEADDR", unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
}
