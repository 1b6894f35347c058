package rawsock

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes and offsets of <linux/if_packet.h>. All fields there have fixed widths
// and natural alignment, so that they are the same on every architecture.
const (
	blockHeader    = 48               // struct tpacket_block_desc
	blockStatus    = 8                // hdr.bh1.block_status
	blockPackets   = 12               // hdr.bh1.num_pkts
	blockFirst     = 16               // hdr.bh1.offset_to_first_pkt
	packetHeader   = 48               // struct tpacket3_hdr, aligned to 16
	packetRoom     = 256              // more than the header, the sockaddr_ll and the alignment of a packet take
	frameSize      = 2048             // not used by version 3 but for its sum
	cookedHeader   = 20               // of LINKTYPE_LINUX_SLL2
	cookedProtocol = packetHeader + 2 // sll_protocol, in network order
)

// The kernel's structs must be as the constants above say.
var (
	_ [blockHeader]byte  = [unsafe.Sizeof(unix.TpacketBlockDesc{})]byte{}
	_ [packetHeader]byte = [unsafe.Sizeof(unix.Tpacket3Hdr{})]byte{}
	_ [cookedHeader]byte = [unsafe.Sizeof(unix.RawSockaddrLinklayer{})]byte{}
)

// ring is the memory shared with the kernel: blocks of packets, each owned by
// one side at a time.
type ring struct {
	memory    []byte
	blockSize int
	current   int    // the block that is read, or will be next
	held      bool   // the current block is ours
	left      uint32 // packets not yet read of it
	next      int    // where in the memory the next of them starts
}

// open sets the ring up on a packet socket that receives nothing yet.
func (r *ring) open(fd, blockSize, blocks int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return os.NewSyscallError("set PACKET_VERSION", err)
	}
	request := unix.TpacketReq3{
		Block_size: uint32(blockSize), Block_nr: uint32(blocks),
		Frame_size: frameSize, Frame_nr: uint32(blockSize / frameSize * blocks),
		Retire_blk_tov: uint32(retireTimeout / time.Millisecond),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return os.NewSyscallError("set PACKET_RX_RING", err)
	}
	memory, err := unix.Mmap(fd, 0, blockSize*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	r.memory, r.blockSize = memory, blockSize
	return nil
}

func (r *ring) close() error {
	if r.memory == nil {
		return nil
	}
	err := unix.Munmap(r.memory)
	*r = ring{}
	return os.NewSyscallError("munmap", err)
}

// word is a field of the current block's header, which the kernel may be
// writing at the same time.
func (r *ring) word(offset int) *uint32 {
	return (*uint32)(unsafe.Pointer(&r.memory[r.current*r.blockSize+offset]))
}

// take makes the current block ours if the kernel has handed it over.
func (r *ring) take() bool {
	if atomic.LoadUint32(r.word(blockStatus))&unix.TP_STATUS_USER == 0 {
		return false
	}
	r.held = true
	r.left = *r.word(blockPackets)
	r.next = r.current*r.blockSize + int(*r.word(blockFirst))
	if r.left == 0 {
		r.giveBack()
	}
	return r.held
}

// giveBack returns a block that was taken to the kernel and moves to the next
// one.
func (r *ring) giveBack() {
	if !r.held {
		return
	}
	r.held = false
	*r.word(blockPackets) = 0 // so that pending can tell
	atomic.StoreUint32(r.word(blockStatus), unix.TP_STATUS_KERNEL)
	r.current = (r.current + 1) % (len(r.memory) / r.blockSize)
}

// pending counts the packets in the block that the kernel is filling.
func (r *ring) pending() uint32 { return atomic.LoadUint32(r.word(blockPackets)) }

// frame reads the next packet of a block that was taken, behind a cooked
// header if asked for.
func (r *ring) frame(cooked bool) (f Frame, loopback bool) {
	start := r.next
	header := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.memory[start]))
	address := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.memory[start+packetHeader]))
	r.left--
	r.next += int(header.Next_offset)
	f = Frame{
		Time:      time.Unix(int64(header.Sec), int64(header.Nsec)),
		Length:    int(header.Len),
		Interface: int(address.Ifindex),
		Direction: Incoming,
	}
	if address.Pkttype == unix.PACKET_OUTGOING {
		f.Direction = Outgoing
	}
	data, end := start+int(header.Mac), start+int(header.Mac)+int(header.Snaplen)
	if cooked {
		data -= cookedHeader
		f.Length += cookedHeader
		cook(r.memory[data:data+cookedHeader], address, r.memory[start+cookedProtocol:])
	}
	f.Data = r.memory[data:end:end]
	return f, address.Hatype == unix.ARPHRD_LOOPBACK
}

// cook writes the header of LINKTYPE_LINUX_SLL2 into the room that the kernel
// leaves before the packet of a SOCK_DGRAM socket: 28 bytes after the sockaddr_ll.
func cook(to []byte, a *unix.RawSockaddrLinklayer, protocol []byte) {
	copy(to[0:2], protocol)
	to[2], to[3] = 0, 0
	binary.BigEndian.PutUint32(to[4:], uint32(a.Ifindex))
	binary.BigEndian.PutUint16(to[8:], a.Hatype)
	to[10], to[11] = a.Pkttype, a.Halen
	copy(to[12:20], a.Addr[:])
}
