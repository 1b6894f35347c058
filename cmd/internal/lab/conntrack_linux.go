package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
)

// The attributes of linux/netfilter/nfnetlink_conntrack.h that are read here.
const (
	groupNew, groupUpdate, groupDestroy = 1, 2, 3

	messageNew, messageDelete = 0, 2 // low byte of the type: IPCTNL_MSG_CT_NEW, _DELETE

	attrTupleOriginal, attrTupleReply, attrProtoInfo = 1, 2, 4
	attrTupleIP, attrTupleProto                      = 1, 2
	attrIPv4Source, attrIPv4Destination              = 1, 2
	attrIPv6Source, attrIPv6Destination              = 3, 4
	attrProtoNumber, attrSourcePort, attrDestPort    = 1, 2, 3
	attrProtoInfoTCP, attrProtoInfoTCPState          = 1, 1
)

// tcpStates are the kernel's names, by enum tcp_conntrack.
var tcpStates = words{"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2"}

// connectionLog collects the conntrack events of one box until it is closed.
type connectionLog struct {
	box  string
	own  []netip.Addr // of the box itself
	conn *netlink.Conn
	done chan struct{}
	tell func(Mapping) // is told of each event

	mu     sync.Mutex
	events []Mapping
	lost   bool // the kernel could not deliver all
}

func openConnectionLog(box Node, ns *netlab.Namespace, tell func(Mapping)) (*connectionLog, error) {
	var conn *netlink.Conn
	err := ns.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open ctnetlink: %w", err)
	}
	conn.SetReadBuffer(eventBuffer) // without the privilege for it, what the kernel gives everybody
	for _, group := range []uint32{groupNew, groupUpdate, groupDestroy} {
		if err := conn.JoinGroup(group); err != nil {
			conn.Close()
			return nil, fmt.Errorf("join conntrack events: %w", err)
		}
	}
	l := &connectionLog{box: box.Name, own: box.addresses(), conn: conn, done: make(chan struct{}), tell: tell}
	go l.read()
	return l, nil
}

// eventBuffer is room for the events of some thousand connections, in bytes:
// those of a volley come while its SYNs have the processors to themselves.
const eventBuffer = 16 << 20

func (l *connectionLog) read() {
	defer close(l.done)
	for {
		messages, err := l.conn.Receive()
		at := time.Now()
		if errors.Is(err, unix.ENOBUFS) {
			l.mu.Lock()
			l.lost = true
			l.mu.Unlock()
			continue
		}
		if err != nil {
			return
		}
		for _, m := range messages {
			l.add(at, m)
		}
	}
}

func (l *connectionLog) add(at time.Time, m netlink.Message) {
	event, err := parseConntrack(m)
	if err != nil {
		return // not about a TCP or UDP connection
	}
	event = event.fromOutside(l.own)
	event.At, event.Box = at, l.box
	l.tell(event)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, event)
}

// incomplete says whether events are missing since forget.
func (l *connectionLog) incomplete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// forget drops what was seen, since another meeting begins.
func (l *connectionLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = false
}

// snapshot is what was seen so far.
func (l *connectionLog) snapshot() []Mapping {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *connectionLog) close() error {
	err := l.conn.SetReadDeadline(time.Unix(1, 0))
	<-l.done
	return errors.Join(err, ignoreClosed(l.conn.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// forgetConnections empties a box's connection table. A deletion that names no
// connection deletes all (nf_conntrack_netlink.c, ctnetlink_del_conntrack).
func forgetConnections(ns *netlab.Namespace) error {
	var conn *netlink.Conn
	err := ns.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("open ctnetlink: %w", err)
	}
	defer conn.Close()
	_, err = conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_CTNETLINK<<8 | messageDelete, Flags: netlink.Request | netlink.Acknowledge},
		Data:   make([]byte, 4), // struct nfgenmsg: every family
	})
	if err != nil {
		return fmt.Errorf("delete connections: %w", err)
	}
	return nil
}

var errOtherProtocol = errors.New("neither TCP nor UDP")

func parseConntrack(m netlink.Message) (Mapping, error) {
	if len(m.Data) < 4 {
		return Mapping{}, errOtherProtocol
	}
	ad, err := netlink.NewAttributeDecoder(m.Data[4:]) // after struct nfgenmsg
	if err != nil {
		return Mapping{}, err
	}
	var original, reply tuple
	var state string
	for ad.Next() {
		switch ad.Type() {
		case attrTupleOriginal:
			ad.Nested(original.decode)
		case attrTupleReply:
			ad.Nested(reply.decode)
		case attrProtoInfo:
			ad.Nested(func(n *netlink.AttributeDecoder) error { return decodeState(n, &state) })
		}
	}
	if err := ad.Err(); err != nil {
		return Mapping{}, err
	}
	return original.mapping(reply, changeOf(m.Header), state)
}

func changeOf(h netlink.Header) Change {
	switch {
	case h.Type&0xff == messageDelete:
		return Destroyed
	case h.Flags&(netlink.Create|netlink.Excl) != 0:
		return Created
	}
	return Updated
}

func decodeState(ad *netlink.AttributeDecoder, state *string) error {
	for ad.Next() {
		if ad.Type() != attrProtoInfoTCP {
			continue
		}
		ad.Nested(func(n *netlink.AttributeDecoder) error {
			for n.Next() {
				if n.Type() == attrProtoInfoTCPState {
					*state = tcpStates.text(int(n.Uint8()))
				}
			}
			return nil
		})
	}
	return nil
}

type tuple struct {
	source, destination         netip.Addr
	sourcePort, destinationPort uint16
	protocol                    uint8
}

func (t *tuple) decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case attrTupleIP:
			ad.Nested(t.decodeIP)
		case attrTupleProto:
			ad.Nested(t.decodeProto)
		}
	}
	return nil
}

func (t *tuple) decodeIP(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case attrIPv4Source, attrIPv6Source:
			t.source, _ = netip.AddrFromSlice(ad.Bytes())
		case attrIPv4Destination, attrIPv6Destination:
			t.destination, _ = netip.AddrFromSlice(ad.Bytes())
		}
	}
	return nil
}

func (t *tuple) decodeProto(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case attrProtoNumber:
			t.protocol = ad.Uint8()
		case attrSourcePort:
			t.sourcePort = bigEndian(ad.Bytes())
		case attrDestPort:
			t.destinationPort = bigEndian(ad.Bytes())
		}
	}
	return nil
}

func bigEndian(b []byte) uint16 {
	if len(b) < 2 {
		return 0
	}
	return uint16(b[0])<<8 | uint16(b[1])
}

// mapping reads a connection from the viewpoint of the box: what its reply
// would be addressed to is the outside. A connection that is not translated
// and ends at the box was opened by the peer.
func (t tuple) mapping(reply tuple, change Change, state string) (Mapping, error) {
	protocol, ok := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[t.protocol]
	if !ok {
		return Mapping{}, errOtherProtocol
	}
	return Mapping{
		Change: change, Protocol: protocol, State: state,
		Inside:  netip.AddrPortFrom(t.source, t.sourcePort),
		Outside: netip.AddrPortFrom(reply.destination, reply.destinationPort),
		Peer:    netip.AddrPortFrom(t.destination, t.destinationPort),
	}, nil
}

// fromOutside turns a connection that a box got from outside around, so that
// the peer is the other side. own are the box's own addresses.
func (m Mapping) fromOutside(own []netip.Addr) Mapping {
	if slices.Contains(own, m.Peer.Addr()) {
		m.Inbound = true
		m.Inside, m.Outside, m.Peer = m.Peer, m.Peer, m.Inside
	}
	return m
}
