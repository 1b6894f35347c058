package netlab

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// tun is a TUN device. Its kernel side completes checksums and segments before
// read(2), since no TUNSETOFFLOAD asks it not to.
type tun struct{ file int }

// openTUN makes the device in the namespace of the thread that opens the file.
func openTUN(p PortConfig) (device, error) {
	t := &tun{}
	if err := p.Namespace.do(func() error { return t.open(p.Name) }); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *tun) open(name string) (err error) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("device name: %w", err)
	}
	t.file, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(t.file, unix.TUNSETIFF, r); err != nil {
		unix.Close(t.file)
		return fmt.Errorf("make TUN device: %w", err)
	}
	return nil
}

func (t *tun) fd() int { return t.file }

func (t *tun) read(b []byte) (int, int64, bool) {
	n, err := unix.Read(t.file, b)
	return max(n, 0), 0, err == nil
}

func (t *tun) write(b []byte) error {
	_, err := unix.Write(t.file, b[headroom:])
	return err
}

// failed: poll reports an error only after the device was unregistered.
func (t *tun) failed() bool { return true }

func (t *tun) close() error { return unix.Close(t.file) }
