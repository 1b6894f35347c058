//go:build !linux

package timingtest

import (
	"net"
	"syscall"
)

const errRefused = syscall.ECONNREFUSED

func newStampedPort(*net.UDPConn) port { return nil }
