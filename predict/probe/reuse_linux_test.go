package probe

import "syscall"

func init() {
	reuse = func(_, _ string, c syscall.RawConn) (err error) {
		controlErr := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
		})
		if controlErr != nil {
			return controlErr
		}
		return err
	}
}
