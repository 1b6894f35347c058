package rawsock

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Set makes o the socket's options; a field that is zero goes back to the
// kernel's default. Only what differs from before is touched, so that an
// option that needs a privilege needs it only when it changes.
func (s *Socket) Set(o Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return ErrClosed
	}
	return s.apply(o)
}

func (s *Socket) apply(o Options) error {
	v6 := s.local.Addr().Is6()
	if err := s.applyHops(o, v6); err != nil {
		return err
	}
	if err := s.applySynCount(o.SynCount); err != nil {
		return err
	}
	if o.UserTimeout != s.options.UserTimeout {
		if err := s.setInt("TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.UserTimeout/time.Millisecond)); err != nil {
			return err
		}
		s.options.UserTimeout = o.UserTimeout
	}
	if o.Mark != s.options.Mark {
		if err := s.setInt("SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, o.Mark); err != nil {
			return err
		}
		s.options.Mark = o.Mark
	}
	if o.Device != s.options.Device {
		if err := bindToDevice(s.fd, o.Device); err != nil {
			return err
		}
		s.options.Device = o.Device
	}
	return nil
}

func (s *Socket) applyHops(o Options, v6 bool) error {
	level, ttl, minTTL := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_MINTTL
	names := [2]string{"IP_TTL", "IP_MINTTL"}
	if v6 {
		level, ttl, minTTL = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_MINHOPCOUNT
		names = [2]string{"IPV6_UNICAST_HOPS", "IPV6_MINHOPCOUNT"}
	}
	if o.TTL != s.options.TTL {
		value := o.TTL
		if value == 0 {
			value = -1 // ip(7), ipv6(7): the route's default
		}
		if err := s.setInt(names[0], level, ttl, value); err != nil {
			return err
		}
		s.options.TTL = o.TTL
	}
	if o.MinTTL != s.options.MinTTL {
		if err := s.setInt(names[1], level, minTTL, o.MinTTL); err != nil {
			return err
		}
		s.options.MinTTL = o.MinTTL
	}
	return nil
}

// applySynCount remembers the kernel's value before it changes it, since
// TCP_SYNCNT takes no 0 to mean the default.
func (s *Socket) applySynCount(n int) error {
	if n == s.options.SynCount {
		return nil
	}
	if s.retries == 0 {
		n, err := unix.GetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT)
		if err != nil {
			return os.NewSyscallError("get TCP_SYNCNT", err)
		}
		s.retries = n
	}
	value := n
	if n == 0 {
		value = s.retries
	}
	if err := s.setInt("TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, value); err != nil {
		return err
	}
	s.options.SynCount = n
	return nil
}

func (s *Socket) setInt(name string, level, which, value int) error {
	if err := unix.SetsockoptInt(s.fd, level, which, value); err != nil {
		return fmt.Errorf("option value %d: %w", value, os.NewSyscallError("set "+name, err))
	}
	return nil
}

func bindToDevice(fd int, name string) error {
	if err := unix.BindToDevice(fd, name); err != nil {
		return fmt.Errorf("bind to interface %q: %w", name, os.NewSyscallError("set SO_BINDTODEVICE", err))
	}
	return nil
}
