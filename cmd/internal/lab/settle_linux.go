package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab"
)

// settled waits until nodes have no TCP connections any more, and says whether
// they came to that in time.
func (n *Network) settled(ctx context.Context, within time.Duration, nodes ...string) (bool, error) {
	soon, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, node := range nodes {
		for {
			left, err := forgetRemembered(n.namespaces[node])
			if err != nil {
				return false, fmt.Errorf("look for connections of %s: %w", node, err)
			}
			if left == 0 {
				break
			}
			select {
			case <-soon.Done():
				return false, ctx.Err()
			case <-tick.C:
			}
		}
	}
	return true, nil
}

// From linux/sock_diag.h and linux/inet_diag.h, sizes and places in bytes.
const (
	diagByFamily, diagDestroy = 20, 21

	diagRequestSize = 56 // struct inet_diag_req_v2: family, protocol,
	diagStates      = 4  // states wanted,
	diagWanted      = 8  // struct inet_diag_sockid

	diagFoundSize = 72 // struct inet_diag_msg: family,
	diagState     = 1  // state,
	diagFound     = 4  // struct inet_diag_sockid,
	diagInode     = 68 // and inode, which is 0 where no process has the socket

	diagSocketSize = 48 // struct inet_diag_sockid
)

// States of include/net/tcp_states.h.
const (
	tcpSYNReceived    = 3
	tcpTimeWait       = 6
	tcpListen         = 10
	tcpNewSYNReceived = 12
)

// forgetRemembered says how many TCP connections a namespace has, listeners left
// out. It destroys those that only the kernel remembers, for up to a minute: in
// TIME-WAIT, as the coordinator's dial-backs are, and those of which the last step
// of the handshake never came.
func forgetRemembered(ns *netlab.Namespace) (left int, err error) {
	err = ns.Do(func() error {
		conn, err := netlink.Dial(unix.NETLINK_SOCK_DIAG, nil)
		if err != nil {
			return fmt.Errorf("open sock_diag: %w", err)
		}
		defer conn.Close()
		for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
			more, err := forgetOf(conn, family)
			if err != nil {
				return err
			}
			left += more
		}
		return nil
	})
	return left, err
}

func forgetOf(conn *netlink.Conn, family byte) (left int, err error) {
	const connections = 1<<(tcpNewSYNReceived+1) - 1 - 1<<tcpListen
	found, err := conn.Execute(diagRequest(diagByFamily, netlink.Dump, family, connections, nil))
	if err != nil {
		return 0, fmt.Errorf("list connections: %w", err)
	}
	for _, m := range found {
		if len(m.Data) < diagFoundSize {
			continue // the end of the list
		}
		left++
		if !remembered(m.Data) {
			continue
		}
		destroy := diagRequest(diagDestroy, netlink.Acknowledge, family, 0, m.Data[diagFound:][:diagSocketSize])
		if _, err := conn.Execute(destroy); err == nil { // before Linux 6.0 not in TIME-WAIT
			left--
		}
	}
	return left, nil
}

func remembered(found []byte) bool {
	switch found[diagState] {
	case tcpTimeWait:
		return true
	case tcpSYNReceived:
		return binary.NativeEndian.Uint32(found[diagInode:]) == 0
	}
	return false
}

func diagRequest(kind netlink.HeaderType, flags netlink.HeaderFlags, family byte, states uint32, socket []byte) netlink.Message {
	body := make([]byte, diagRequestSize)
	body[0], body[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[diagStates:], states)
	copy(body[diagWanted:], socket)
	return netlink.Message{Header: netlink.Header{Type: kind, Flags: netlink.Request | flags}, Data: body}
}
