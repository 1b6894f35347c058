package rawsock

import (
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	glanceFor  = 100 * time.Microsecond // of spinning
	glanceDoze = 2 * time.Millisecond   // of sleeping, where there is one processor
	makeWay    = 100 * time.Microsecond
)

// Glance waits for a moment, on the thread of the last Launch, for a connection
// of it to stand, as happens at once between two hosts on one wire: to wake
// another thread takes longer. It returns when it saw one, a reading of
// CLOCK_MONOTONIC in nanoseconds, and else 0. On several processors it spins for
// 0.1 ms. On a single one it sleeps for at most 2 ms, so that the other end can
// launch if it is on this same processor, and makes way for it to notice too.
// Of a burst that was divided among the processors it sees this thread's share.
func (p *Launchpad) Glance() int64 {
	if runtime.NumCPU() == 1 {
		return p.glanceAsleep()
	}
	now := monotonic()
	for until := now + int64(glanceFor); now < until; now = monotonic() {
		if p.anyStands() {
			return now
		}
	}
	return 0
}

func (p *Launchpad) glanceAsleep() int64 {
	if !p.anyStands() {
		p.pollAny()
	}
	if !p.anyStands() {
		return 0
	}
	now := monotonic()
	p.sleep(now + int64(makeWay))
	return now
}

// pollAny sleeps until one of the sockets has an outcome. The runtime does not
// hear of it, so that the goroutine need not wait for a turn afterwards.
func (p *Launchpad) pollAny() {
	list := make([]unix.PollFd, 0, len(p.list))
	for i := range p.list {
		if s := p.list[i].socket; s != nil {
			list = append(list, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLOUT})
		}
	}
	if len(list) == 0 {
		return
	}
	p.request = unix.NsecToTimespec(int64(glanceDoze))
	unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), uintptr(unsafe.Pointer(&p.request)), 0, 0, 0)
}

func (p *Launchpad) anyStands() bool {
	for i := range p.list {
		if s := p.list[i].socket; s != nil && s.Established() {
			return true
		}
	}
	return false
}
