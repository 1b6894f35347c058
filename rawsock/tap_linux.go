package rawsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/gopacket"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Tap is a live capture: a TPACKET_V3 ring that the kernel fills over
// AF_PACKET. One goroutine reads it; Stop, Stats and Close may be called from
// anywhere.
type Tap struct {
	fd       int
	wake     int // an eventfd that ends the wait for packets
	link     link
	snapLen  int
	stopped  atomic.Bool
	closing  atomic.Bool
	packets  atomic.Uint64
	reading  sync.Mutex // held by who touches the ring
	ring     ring
	counting sync.Mutex // guards drops and, with closed, the descriptors' life
	drops    uint64
	closed   bool
}

// link is what a tap must know of its interface.
type link struct {
	index    int // 0 for any
	loopback bool
	kind     uint16 // of LinkTypeEthernet and so on
}

// OpenTap starts a capture in the calling thread's network namespace. The
// filter is in place before the first packet can arrive. Errors:
// ErrNoInterface; a PrivilegeError without CAP_NET_RAW.
func OpenTap(c TapConfig) (*Tap, error) {
	l, err := findLink(c.Interface)
	if err != nil {
		return nil, fmt.Errorf("open tap: %w", err)
	}
	c.SnapLen, c.BlockSize, c.Blocks = sizes(c)
	filter, err := c.filter(l)
	if err != nil {
		return nil, fmt.Errorf("open tap on %s: %w", c.Interface, err)
	}
	t := &Tap{link: l, snapLen: c.SnapLen, fd: -1, wake: -1}
	if err := t.open(c, filter); err != nil {
		t.release()
		return nil, fmt.Errorf("open tap on %s: %w", c.Interface, err)
	}
	return t, nil
}

func sizes(c TapConfig) (snapLen, blockSize, blocks int) {
	snapLen, blockSize, blocks = c.SnapLen, c.BlockSize, c.Blocks
	if snapLen <= 0 {
		snapLen = defaultSnapLen
	}
	if blockSize <= 0 {
		blockSize = defaultBlockSize
	}
	if blocks <= 0 {
		blocks = defaultBlocks
	}
	// A packet must fit a block beside both headers.
	page := os.Getpagesize()
	blockSize = max(blockSize, snapLen+blockHeader+packetRoom)
	return snapLen, (blockSize + page - 1) / page * page, blocks
}

func (c TapConfig) filter(l link) ([]bpf.RawInstruction, error) {
	switch {
	case c.Filter != nil:
		return c.Filter, nil
	case l.kind != LinkTypeRaw && !c.Host.IsValid() && len(c.Ports) == 0:
		return acceptAll(c.SnapLen), nil
	}
	return flowFilter(c.Host.Unmap().WithZone(""), c.Ports, l.kind == LinkTypeEthernet, c.SnapLen)
}

// open makes the socket with protocol 0, which receives nothing until bind
// names one.
func (t *Tap) open(c TapConfig, filter []bpf.RawInstruction) (err error) {
	kind := unix.SOCK_DGRAM // from the network header on
	if t.link.kind == LinkTypeEthernet {
		kind = unix.SOCK_RAW
	}
	if t.fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC, 0); err != nil {
		return privilege(os.NewSyscallError("socket", err), capNetRaw)
	}
	if t.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if err := attach(t.fd, filter); err != nil {
		return err
	}
	if err := t.ring.open(t.fd, c.BlockSize, c.Blocks); err != nil {
		return err
	}
	to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: t.link.index}
	return os.NewSyscallError("bind", unix.Bind(t.fd, to))
}

func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

func attach(fd int, filter []bpf.RawInstruction) error {
	if len(filter) == 0 {
		return errors.New("the filter is empty")
	}
	list := make([]unix.SockFilter, len(filter))
	for i, in := range filter {
		list[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	program := unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}
	return os.NewSyscallError("set SO_ATTACH_FILTER", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program))
}

func findLink(name string) (link, error) {
	if name == AnyInterface {
		return link{kind: LinkTypeLinuxSLL2}, nil
	}
	found, err := net.InterfaceByName(name)
	if err != nil {
		return link{}, fmt.Errorf("%w: %q; there are %s", ErrNoInterface, name, interfaceNames())
	}
	hardware, err := hardwareType(name)
	if err != nil {
		return link{}, fmt.Errorf("interface %q: %w", name, err)
	}
	l := link{index: found.Index, loopback: hardware == unix.ARPHRD_LOOPBACK, kind: LinkTypeRaw}
	if l.loopback || hardware == unix.ARPHRD_ETHER {
		l.kind = LinkTypeEthernet
	}
	return l, nil
}

func interfaceNames() string {
	list, err := net.Interfaces()
	if err != nil {
		return "none that can be listed: " + err.Error()
	}
	names := []string{AnyInterface}
	for _, i := range list {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// hardwareType is the ARPHRD_ number of an interface (netdevice(7)).
func hardwareType(name string) (uint16, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, request); err != nil {
		return 0, os.NewSyscallError("ioctl SIOCGIFHWADDR", err)
	}
	return request.Uint16(), nil // sa_family of ifr_hwaddr
}

// LinkType is LinkTypeEthernet, LinkTypeRaw or LinkTypeLinuxSLL2: how Data starts.
func (t *Tap) LinkType() uint16 { return t.link.kind }

// SnapLen is how much of each packet is kept at most, the cooked header of
// LinkTypeLinuxSLL2 included.
func (t *Tap) SnapLen() int {
	if t.link.kind == LinkTypeLinuxSLL2 {
		return t.snapLen + cookedHeader
	}
	return t.snapLen
}

// Next waits for the next packet. Its Data is valid until the following call
// or Close. On a loopback interface, where the kernel shows each packet on its
// way out and again on its way in, only the latter is told, as tcpdump does.
// After Stop it yields what arrived before, and then io.EOF; after Close os.ErrClosed.
func (t *Tap) Next() (Frame, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	for {
		if t.closing.Load() {
			return Frame{}, os.ErrClosed
		}
		if t.ring.left == 0 {
			if err := t.nextBlock(); err != nil {
				return Frame{}, err
			}
		}
		f, loopback := t.ring.frame(t.link.kind == LinkTypeLinuxSLL2)
		if f.Direction == Outgoing && (loopback || t.link.loopback) {
			continue
		}
		t.packets.Add(1)
		return f, nil
	}
}

// Buffered is how many packets Next yields without waiting, at least.
func (t *Tap) Buffered() int {
	t.reading.Lock()
	defer t.reading.Unlock()
	return int(t.ring.left)
}

// ReadPacketData is Next with a copy of the data, as gopacket.PacketDataSource
// wants it. AncillaryData holds the Direction.
func (t *Tap) ReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	data, info, err := t.ZeroCopyReadPacketData()
	return slices.Clone(data), info, err
}

// ZeroCopyReadPacketData is Next in gopacket's words.
func (t *Tap) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	f, err := t.Next()
	if err != nil {
		return nil, gopacket.CaptureInfo{}, err
	}
	return f.Data, f.info(), nil
}

// nextBlock gives the block that was read back to the kernel and waits until
// the following one is full, or its retire timeout has passed.
func (t *Tap) nextBlock() error {
	t.ring.giveBack()
	for quiet := 0; !t.ring.take(); {
		if t.closing.Load() {
			return os.ErrClosed
		}
		stopped := t.stopped.Load()
		idle, err := t.poll(stopped)
		if err != nil {
			return err
		}
		if !stopped || !idle {
			continue
		}
		// The filter rejects everything now. What had passed it before lies in
		// the open block until the kernel's timer retires that.
		if quiet++; t.ring.pending() == 0 || quiet > drainRounds {
			return io.EOF
		}
	}
	return nil
}

// drainRounds bounds the wait for a block that holds packets and is not
// retired, which no kernel should do: 1 s.
const drainRounds = 100

// poll waits for a block or a call of Stop; once stopped, for no longer than a
// block may take to be retired.
func (t *Tap) poll(stopped bool) (idle bool, err error) {
	list := []unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLIN}, {Fd: int32(t.wake), Events: unix.POLLIN}}
	timeout := -1
	if stopped {
		list, timeout = list[:1], int(retireTimeout.Milliseconds())
	}
	n, err := unix.Poll(list, timeout)
	if err == unix.EINTR {
		return false, nil
	}
	if err != nil {
		return false, os.NewSyscallError("poll", err)
	}
	if list[0].Revents&unix.POLLERR != 0 {
		if errno, _ := unix.GetsockoptInt(t.fd, unix.SOL_SOCKET, unix.SO_ERROR); errno != 0 {
			return false, fmt.Errorf("the interface is gone or down: %w", os.NewSyscallError("poll", unix.Errno(errno)))
		}
	}
	return n == 0, nil
}

// Stop ends the capture; packets that had arrived are still to be read.
func (t *Tap) Stop() {
	t.counting.Lock()
	defer t.counting.Unlock()
	if t.closed || t.stopped.Load() {
		return
	}
	// A failure lets packets in until Close and loses nothing.
	attach(t.fd, acceptAll(0))
	t.stopped.Store(true)
	unix.Write(t.wake, binary.NativeEndian.AppendUint64(nil, 1))
}

// Stats counts the packets that were read and those that the kernel dropped
// because the ring was full.
func (t *Tap) Stats() (packets, drops uint64) {
	t.counting.Lock()
	defer t.counting.Unlock()
	t.countDrops()
	return t.packets.Load(), t.drops
}

// countDrops adds the kernel's count, which reading sets back to 0.
func (t *Tap) countDrops() {
	if t.closed {
		return
	}
	if s, err := unix.GetsockoptTpacketStatsV3(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		t.drops += uint64(s.Drops)
	}
}

// Close ends the capture and frees the ring; a Next in progress returns
// os.ErrClosed. What has not been read is lost.
func (t *Tap) Close() error {
	t.closing.Store(true)
	t.Stop()
	t.reading.Lock()
	defer t.reading.Unlock()
	t.counting.Lock()
	defer t.counting.Unlock()
	if t.closed {
		return nil
	}
	t.countDrops()
	t.closed = true
	return t.release()
}

func (t *Tap) release() error {
	err := t.ring.close()
	for _, fd := range []int{t.fd, t.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return err
}
