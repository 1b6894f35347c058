//go:build !linux

package timing

import (
	"net"
	"time"
)

func stampArrivals(*net.UDPConn) {}

func readStamped(conn *net.UDPConn, b []byte) (int, time.Time, error) {
	n, err := conn.Read(b)
	return n, time.Time{}, err
}
