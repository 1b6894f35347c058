package rawsock

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// sockaddr is a socket address as the kernel reads it. It is filled in before
// the instant of the system call, without allocation.
type sockaddr struct {
	bytes [unix.SizeofSockaddrInet6]byte
	len   uint32
	zone  string // the zone that scope stands for
	scope uint32
}

// set lays out a as a sockaddr_in or sockaddr_in6 (ip(7), ipv6(7)).
func (s *sockaddr) set(a netip.AddrPort) error {
	if a.Addr().Unmap().Is4() {
		binary.NativeEndian.PutUint16(s.bytes[0:], unix.AF_INET)
		binary.BigEndian.PutUint16(s.bytes[2:], a.Port())
		ip := a.Addr().Unmap().As4()
		copy(s.bytes[4:], ip[:])
		s.len = unix.SizeofSockaddrInet4
		return nil
	}
	if err := s.setZone(a.Addr().Zone()); err != nil {
		return err
	}
	binary.NativeEndian.PutUint16(s.bytes[0:], unix.AF_INET6)
	binary.BigEndian.PutUint16(s.bytes[2:], a.Port())
	ip := a.Addr().As16()
	copy(s.bytes[8:], ip[:])
	binary.NativeEndian.PutUint32(s.bytes[24:], s.scope)
	s.len = unix.SizeofSockaddrInet6
	return nil
}

// setZone turns a zone, an interface's name or number, into a scope once.
func (s *sockaddr) setZone(zone string) error {
	if zone == s.zone {
		return nil
	}
	if zone == "" {
		s.zone, s.scope = "", 0
		return nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		s.zone, s.scope = zone, uint32(n)
		return nil
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return fmt.Errorf("zone %q: %w", zone, err)
	}
	s.zone, s.scope = zone, uint32(link.Index)
	return nil
}
