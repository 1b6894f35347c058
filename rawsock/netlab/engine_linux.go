package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// The thread stops sleeping before a packet is due by what waking costs, as far
	// as it has learnt: some 20 µs, but beyond 100 µs where an idle processor is put
	// to sleep by its host. More than the most is not waking but waiting for others.
	leastSpin = 30 * time.Microsecond
	mostSpin  = 300 * time.Microsecond
	// batch bounds how many packets are read from a port before due ones are
	// looked at again.
	batch = 32
	// priority of SCHED_FIFO: above ordinary threads, below the kernel's own.
	priority = 10
	// Buffers of packets on their way: most are small, and a burst of thousands
	// is on its way before any buffer comes back.
	smallBuffer = 256
	largeBuffer = headroom + maxPacket
)

// engine is the thread that moves the packets.
type engine struct {
	*Core
	clock clock
	poll  []unix.PollFd // one per port, then the stop event
	queue queue
	small [][]byte // recycled buffers
	large [][]byte
	seq   uint64
	lanes []lanes
	// silences are the limits of the routers that have sent errors.
	silences map[netip.Addr]*limiter
	// Scratch space, each with headroom: for a packet that was read, for what a
	// middlebox emits, and for an answer.
	input, output, answer []byte
	done                  chan error
	spin                  time.Duration
	thread                int
	realTime              bool
}

// lanes are the two directions of a port's link.
type lanes struct{ up, down lane }

func startEngine(c *Core) (*engine, error) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	e := &engine{
		Core: c, done: make(chan error, 1), silences: map[netip.Addr]*limiter{},
		input: make([]byte, largeBuffer), output: make([]byte, largeBuffer), answer: make([]byte, largeBuffer),
	}
	if !c.config.NoSpin {
		e.spin = leastSpin
	}
	for i, p := range c.ports {
		e.poll = append(e.poll, unix.PollFd{Fd: int32(p.device.fd()), Events: unix.POLLIN})
		e.lanes = append(e.lanes, lanes{
			up:   newLane(p.Link, c.config.Seed, uint64(2*i)),
			down: newLane(p.down(), c.config.Seed, uint64(2*i+1)),
		})
	}
	e.poll = append(e.poll, unix.PollFd{Fd: int32(stop), Events: unix.POLLIN})
	if e.clock, err = newClock(); err != nil {
		return nil, errors.Join(err, unix.Close(stop))
	}
	started := make(chan struct{})
	go offMainThread(func() {
		e.thread, e.realTime = unix.Gettid(), preferThread()
		close(started)
		e.done <- e.run()
	})
	<-started
	return e, nil
}

// preferThread makes the calling thread wake exactly and early, and tells whether
// it is in real time. Without the privilege for either it goes on as it is, and
// Lateness shows the price.
func preferThread() (realTime bool) {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	attr := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO,
		Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: priority,
	}
	if unix.SchedSetAttr(0, attr, 0) == nil {
		return true
	}
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	return false
}

// cpuTime reads the clock of the thread, whose number consists of the thread's
// and two flags: CPUCLOCK_PERTHREAD and CPUCLOCK_SCHED of
// linux/posix-timers_types.h.
func (e *engine) cpuTime() (time.Duration, error) {
	const perThread, scheduled = 4, 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^e.thread)<<3|perThread|scheduled, &t); err != nil {
		return 0, fmt.Errorf("read the clock of the core's thread: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

func (e *engine) stopEvent() *unix.PollFd { return &e.poll[len(e.poll)-1] }

func (e *engine) stop() error {
	fd := int(e.stopEvent().Fd)
	if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 1}); err != nil {
		return fmt.Errorf("stop core: %w", err)
	}
	return errors.Join(<-e.done, unix.Close(fd))
}

func (e *engine) run() error {
	for {
		if err := e.wait(); err != nil {
			return err
		}
		if e.stopEvent().Revents != 0 {
			return nil
		}
		for i := range e.ports {
			e.receive(i)
			e.send()
		}
		e.expire()
	}
}

// wait sleeps until a packet can be read or is nearly due, and spins through
// the rest, still looking for packets, so that these are not late either.
func (e *engine) wait() error {
	due, waiting := e.deadline()
	for {
		var timeout *unix.Timespec
		left := due - e.clock.now().at
		sleep := left - e.spin
		if waiting {
			t := unix.NsecToTimespec(int64(max(0, sleep)))
			timeout = &t
		}
		n, err := unix.Ppoll(e.poll, timeout, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("ppoll: %w", err)
		}
		if n > 0 || waiting && left <= 0 {
			return nil
		}
		if n == 0 && sleep > 0 && !e.config.NoSpin {
			e.learn(e.clock.now().at - (due - e.spin))
		}
	}
}

// learn adapts the spin to how long after its time a sleep ended. It grows at
// once, with a margin, and shrinks by half in some 700 sleeps, so that one late
// waking in a hundred is remembered.
func (e *engine) learn(late time.Duration) {
	e.spin -= (e.spin - leastSpin) / 1024
	if wanted := late + late/4; wanted <= mostSpin {
		e.spin = max(e.spin, wanted)
	}
}

func (e *engine) deadline() (due time.Duration, waiting bool) {
	if len(e.queue) > 0 {
		due, waiting = e.queue[0].due, true
	}
	for _, p := range e.ports {
		if p.Middlebox == nil {
			continue
		}
		if next := p.Middlebox.Next(); !next.IsZero() {
			if at := e.clock.of(next); !waiting || at < due {
				due, waiting = at, true
			}
		}
	}
	return due, waiting
}

// receive reads what has come from a port.
func (e *engine) receive(i int) {
	p, events := e.ports[i], e.poll[i].Revents
	if events&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 && p.device.failed() {
		e.poll[i].Fd = -1 // ppoll ignores it from now on
		return
	}
	if events&unix.POLLIN == 0 {
		return
	}
	for range batch {
		n, wall, ok := p.device.read(e.input[headroom:])
		if !ok {
			return
		}
		e.fromDevice(p, e.input[headroom:][:n], e.clock.now().arrived(wall))
	}
}

func (e *engine) buffer(size int) []byte {
	free, capacity := &e.small, smallBuffer
	if size > smallBuffer {
		free, capacity = &e.large, largeBuffer
	}
	n := len(*free)
	if n == 0 {
		return make([]byte, size, capacity)
	}
	b := (*free)[n-1]
	*free = (*free)[:n-1]
	return b[:size]
}

func (e *engine) recycle(b []byte) {
	if cap(b) == smallBuffer {
		e.small = append(e.small, b)
	} else {
		e.large = append(e.large, b)
	}
}
