package rawsock

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tcppunch/rawsock/netlab/netlabtest"
)

// stampedSocket receives packets with the kernel's stamps (SO_TIMESTAMPNS,
// socket(7)).
func stampedSocket(t *testing.T, c net.PacketConn) func() time.Time {
	t.Helper()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) }); err != nil || set != nil {
		t.Fatal(err, set)
	}
	return func() time.Time {
		data, control := make([]byte, 64), make([]byte, 256)
		_, n, _, _, err := c.(*net.UDPConn).ReadMsgUDP(data, control)
		if err != nil {
			t.Fatal(err)
		}
		list, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil || len(list) != 1 || list[0].Header.Type != unix.SO_TIMESTAMPNS {
			t.Fatalf("got control messages %v, %v, want a stamp", list, err)
		}
		return time.Unix((*unix.Timespec)(unsafe.Pointer(&list[0].Data[0])).Unix())
	}
}

func TestATapsStampsAreTheKernelsOwn(t *testing.T) {
	const count = 200
	nsA, nsB, _, addrB := netlabtest.Pair(t)
	to := netip.AddrPortFrom(addrB, 7000)
	receiver := in(t, nsB, func() (net.PacketConn, error) { return net.ListenPacket("udp", to.String()) })
	t.Cleanup(func() { receiver.Close() })
	receiver.SetReadDeadline(time.Now().Add(10 * time.Second)) // that a lost one be no hang
	read := stampedSocket(t, receiver)
	tap := tapIn(t, nsB, TapConfig{Interface: netlabtest.Link, Filter: udpOnly(t)})
	numbers(t, sender(t, nsA, to), count)
	tap.Stop()
	var off []time.Duration
	for {
		f, err := tap.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		off = append(off, f.Time.Sub(read()).Abs())
	}
	if len(off) != count {
		t.Fatalf("the tap got %d packets, want %d", len(off), count)
	}
	slices.Sort(off)
	t.Logf("distance of the stamps: p50 %v, max %v", off[len(off)/2], off[len(off)-1])
	if worst := off[len(off)-1]; worst > 20*time.Microsecond {
		t.Errorf("got stamps that are up to %v off, want 20 µs at most", worst)
	}
}
