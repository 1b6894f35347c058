package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcppunch/timing"
)

// The two rivals of a prepared burst, without anything of ours around the
// system calls. Both take IPv4 only.

// BareBurst makes, binds and connects n sockets, one after the other, without
// any option, and says how long that took.
func BareBurst(local netip.AddrPort, remote netip.AddrPort, n int) (time.Duration, error) {
	from := unix.SockaddrInet4{Addr: local.Addr().As4(), Port: int(local.Port())}
	to := unix.SockaddrInet4{Addr: remote.Addr().As4(), Port: int(remote.Port())}
	sockets := make([]int, 0, n)
	defer func() {
		for _, fd := range sockets {
			unix.Close(fd)
		}
	}()
	begin := timing.Now()
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return 0, os.NewSyscallError("socket", err)
		}
		sockets = append(sockets, fd)
		if err := unix.Bind(fd, &from); err != nil {
			return 0, fmt.Errorf("bind to port %d: %w", from.Port, os.NewSyscallError("bind", err))
		}
		if err := unix.Connect(fd, &to); err != unix.EINPROGRESS {
			return 0, fmt.Errorf("connect: %w", os.NewSyscallError("connect", err))
		}
		from.Port++
	}
	return timing.Now().Sub(begin), nil
}

// message is struct mmsghdr (sendmmsg(2)).
type message struct {
	header unix.Msghdr
	sent   uint32
}

// CraftedBurst sends n crafted SYNs by sendmmsg on a raw socket, and says how
// long that took.
func CraftedBurst(local netip.AddrPort, remote netip.AddrPort, n int) (time.Duration, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	to := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: remote.Addr().As4()}
	packets, vectors, messages := make([][60]byte, n), make([]unix.Iovec, n), make([]message, n)
	for i := range n {
		packets[i] = craftSYN(netip.AddrPortFrom(local.Addr(), local.Port()+uint16(i)), remote, uint32(i)<<12)
		vectors[i].Base = &packets[i][0]
		vectors[i].SetLen(len(packets[i]))
		h := &messages[i].header
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&to)), unix.SizeofSockaddrInet4
		h.Iov = &vectors[i]
		h.SetIovlen(1)
	}
	begin := timing.Now()
	for rest := messages; len(rest) > 0; { // at most UIO_MAXIOV, 1024, at a time
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&rest[0])), uintptr(len(rest)), 0, 0, 0)
		if errno != 0 {
			return 0, os.NewSyscallError("sendmmsg", errno)
		}
		rest = rest[sent:]
	}
	return timing.Now().Sub(begin), nil
}

// craftSYN is a SYN as Linux sends it: 20 bytes of options. The kernel fills in
// the IP checksum and the length (raw(7)).
func craftSYN(from, to netip.AddrPort, sequence uint32) (p [60]byte) {
	copy(p[:], []byte{0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP})
	source, destination := from.Addr().As4(), to.Addr().As4()
	copy(p[12:], source[:])
	copy(p[16:], destination[:])
	tcp := p[20:]
	binary.BigEndian.PutUint16(tcp[0:], from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	binary.BigEndian.PutUint32(tcp[4:], sequence)
	copy(tcp[12:], []byte{0xa0, 0x02, 0xfa, 0xf0})
	// MSS 1460, SACK permitted, timestamps, no operation, window scale 7
	copy(tcp[20:], []byte{2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7})
	binary.BigEndian.PutUint16(tcp[16:], tcpChecksum(p[12:20], tcp))
	return p
}

// tcpChecksum is that of RFC 9293 section 3.1 over the pseudo-header and a
// segment of even length.
func tcpChecksum(addresses, segment []byte) uint16 {
	sum := uint32(unix.IPPROTO_TCP) + uint32(len(segment))
	for _, part := range [][]byte{addresses, segment} {
		for ; len(part) > 1; part = part[2:] {
			sum += uint32(binary.BigEndian.Uint16(part))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
