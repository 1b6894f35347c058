package rawsock

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// receiver hears what arrives for one connection, before the firewall and
// without the delay of a Tap's ring. What leaves this host it does not hear.
type receiver struct {
	file   *os.File
	raw    syscall.RawConn
	buffer [2048]byte
}

// openReceiver listens on all interfaces. The filter is in place before the
// first packet can arrive.
func openReceiver(local, remote netip.AddrPort) (*receiver, error) {
	filter, err := flowFilter(remote.Addr().Unmap().WithZone(""), []uint16{local.Port()}, false, len(receiver{}.buffer))
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, privilege(os.NewSyscallError("socket", err), capNetRaw)
	}
	r := &receiver{file: os.NewFile(uintptr(fd), "receiver")}
	if err = attach(fd, filter); err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL)}))
	}
	if err == nil {
		r.raw, err = r.file.SyscallConn()
	}
	if err != nil {
		r.file.Close()
		return nil, err
	}
	return r, nil
}

// next waits for a packet until a deadline, which is os.ErrDeadlineExceeded, or
// the end of ctx. The packet is valid until the next call.
func (r *receiver) next(ctx context.Context, until time.Time) (packet []byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.file.SetReadDeadline(until)
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		r.file.SetReadDeadline(time.Unix(1, 0))
		close(interrupted)
	})
	var failed error
	err = r.raw.Read(func(fd uintptr) (done bool) {
		packet, failed = r.read(int(fd))
		return packet != nil || failed != nil
	})
	if !stop() {
		<-interrupted
		return nil, ctx.Err()
	}
	return packet, errors.Join(err, failed)
}

// read takes packets off the socket until one has arrived from elsewhere.
func (r *receiver) read(fd int) ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(fd, r.buffer[:], 0)
		switch {
		case err == unix.EAGAIN:
			return nil, nil
		case err == unix.EINTR || err == unix.ENETDOWN: // of any interface
			continue
		case err != nil:
			return nil, fmt.Errorf("listen for segments: %w", os.NewSyscallError("recvfrom", err))
		}
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype != unix.PACKET_OUTGOING {
			return r.buffer[:n], nil
		}
	}
}

func (r *receiver) close() { r.file.Close() }
