package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ring has room for CoreConfig.Burst packets. A socket buffer would not do: an
// ordinary user may not enlarge it beyond net.core.rmem_max, a few hundred small
// packets.
const (
	frameSize = 2048
	blockSize = 1 << 16
)

// packetPort reads and writes the far end of a veth pair through AF_PACKET with
// a TPACKET_V2 ring (Documentation/networking/packet_mmap.rst).
type packetPort struct {
	socket int
	ring   []byte
	frames int
	next   int
	header [headroom]byte // Ethernet: to the device, from the far end
	far    string
	home   *Namespace
	stats  *stats
}

func (c *Core) openPacket(p *port) (device, error) {
	if c.backstage == nil {
		var err error
		if c.backstage, err = New("core"); err != nil {
			return nil, err
		}
	}
	const perBlock = blockSize / frameSize
	d := &packetPort{socket: -1, frames: (c.config.Burst + perBlock - 1) / perBlock * perBlock, far: fmt.Sprintf("port%d", p.index), home: c.backstage, stats: &p.stats}
	if err := c.cableToCore(p.PortConfig, d.far); err != nil {
		return nil, err
	}
	if err := d.open(p.PortConfig); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *packetPort) open(p PortConfig) error {
	var index int
	err := p.Namespace.withHandle(func(h handle) (err error) {
		var a [6]byte
		a, _, err = h.hardwareAddress(p.Name)
		copy(d.header[0:6], a[:])
		return err
	})
	if err != nil {
		return err
	}
	err = d.home.withHandle(func(h handle) (err error) {
		var a [6]byte
		a, index, err = h.hardwareAddress(d.far)
		copy(d.header[6:12], a[:])
		return err
	})
	if err != nil {
		return err
	}
	return d.home.do(func() error { return d.openSocket(index) })
}

// openSocket makes the ring before it binds, so that no packet goes to the
// socket's own queue.
func (d *packetPort) openSocket(index int) (err error) {
	d.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open packet socket: %w", err)
	}
	options := []struct{ name, value int }{
		{unix.PACKET_VERSION, unix.TPACKET_V2},
		{unix.PACKET_IGNORE_OUTGOING, 1},
		{unix.PACKET_QDISC_BYPASS, 1},
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(d.socket, unix.SOL_PACKET, o.name, o.value); err != nil {
			return fmt.Errorf("set packet socket option %d: %w", o.name, err)
		}
	}
	request := &unix.TpacketReq{
		Block_size: blockSize, Block_nr: uint32(d.frames * frameSize / blockSize),
		Frame_size: frameSize, Frame_nr: uint32(d.frames),
	}
	if err := unix.SetsockoptTpacketReq(d.socket, unix.SOL_PACKET, unix.PACKET_RX_RING, request); err != nil {
		return fmt.Errorf("make packet ring: %w", err)
	}
	d.ring, err = unix.Mmap(d.socket, 0, d.frames*frameSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map packet ring: %w", err)
	}
	all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL & 0xff})
	if err := unix.Bind(d.socket, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		return fmt.Errorf("bind packet socket: %w", err)
	}
	return nil
}

func (d *packetPort) fd() int { return d.socket }

// read takes the next frame out of the ring, if the kernel has filled it.
func (d *packetPort) read(b []byte) (length int, wall int64, ok bool) {
	frame := d.ring[d.next*frameSize:][:frameSize]
	h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&frame[0]))
	status := atomic.LoadUint32(&h.Status)
	if status&unix.TP_STATUS_USER == 0 {
		return 0, 0, false
	}
	n := 0
	wall = int64(h.Sec)*int64(time.Second) + int64(h.Nsec)
	if h.Len == h.Snaplen && h.Snaplen > headroom {
		n = copy(b, frame[int(h.Mac)+headroom:][:h.Snaplen-headroom])
	}
	atomic.StoreUint32(&h.Status, unix.TP_STATUS_KERNEL)
	d.next = (d.next + 1) % d.frames
	if status&unix.TP_STATUS_CSUMNOTREADY != 0 {
		complete(b[:n])
	}
	if status&unix.TP_STATUS_LOSING != 0 {
		d.countLost()
	}
	return n, wall, true
}

// countLost reads, and thereby clears, how many packets found the ring full. The
// kernel tells so with the next packet that finds room.
func (d *packetPort) countLost() {
	if s, err := unix.GetsockoptTpacketStats(d.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		d.stats.drops[causeOverflow].Add(uint64(s.Drops))
	}
}

// complete makes up for a sender whose checksum offload was turned on again.
func complete(p []byte) {
	if h, ok := parse(p); ok {
		completeChecksum(p[:h.length], h)
	}
}

func (d *packetPort) write(b []byte) error {
	copy(b, d.header[:12])
	protocol := uint16(unix.ETH_P_IP)
	if b[headroom]>>4 == 6 {
		protocol = unix.ETH_P_IPV6
	}
	binary.BigEndian.PutUint16(b[12:], protocol)
	_, err := unix.Write(d.socket, b)
	return err
}

// failed takes the error off the socket: after ENETDOWN the link may come up
// again, but a link that is gone leaves the socket bound to nothing.
func (d *packetPort) failed() bool {
	_, err := unix.GetsockoptInt(d.socket, unix.SOL_SOCKET, unix.SO_ERROR)
	return err != nil
}

func (d *packetPort) close() error {
	var errs []error
	if d.ring != nil {
		errs = append(errs, unix.Munmap(d.ring))
	}
	if d.socket >= 0 {
		errs = append(errs, unix.Close(d.socket))
	}
	errs = append(errs, d.home.withHandle(func(h handle) error { return h.remove(d.far) }))
	return errors.Join(errs...)
}
