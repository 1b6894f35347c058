package netlab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// spin is how long before a packet is due the thread stops sleeping: about
	// what waking a sleeping thread costs.
	spin = 50 * time.Microsecond
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
	links []links
	// Scratch space, each with headroom: for a packet that was read, for what a
	// middlebox emits, and for an answer.
	input, output, answer []byte
	done                  chan error
}

// links holds the randomness of a port's link, per direction, so that what
// happens in one does not depend on the order of events in another.
type links struct{ in, out *rand.Rand }

func startEngine(c *Core) (*engine, error) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	e := &engine{
		Core: c, done: make(chan error, 1),
		input: make([]byte, largeBuffer), output: make([]byte, largeBuffer), answer: make([]byte, largeBuffer),
	}
	for i, p := range c.ports {
		e.poll = append(e.poll, unix.PollFd{Fd: int32(p.device.fd()), Events: unix.POLLIN})
		e.links = append(e.links, links{
			in:  rand.New(rand.NewPCG(c.config.Seed, uint64(2*i))),
			out: rand.New(rand.NewPCG(c.config.Seed, uint64(2*i+1))),
		})
	}
	e.poll = append(e.poll, unix.PollFd{Fd: int32(stop), Events: unix.POLLIN})
	if e.clock, err = newClock(); err != nil {
		return nil, errors.Join(err, unix.Close(stop))
	}
	go offMainThread(func() {
		preferThread()
		e.done <- e.run()
	})
	return e, nil
}

// preferThread makes the calling thread wake exactly and early. Without the
// privilege for either it goes on as it is, and Lateness shows the price.
func preferThread() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	attr := &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO,
		Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: priority,
	}
	if unix.SchedSetAttr(0, attr, 0) != nil {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20)
	}
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
		}
		e.send()
		e.expire()
	}
}

// wait sleeps until a packet can be read or is nearly due, and spins through
// the rest if nothing came.
func (e *engine) wait() error {
	var timeout *unix.Timespec
	due, waiting := e.deadline()
	if waiting {
		t := unix.NsecToTimespec(int64(max(0, due-spin-e.clock.now().at)))
		timeout = &t
	}
	n, err := unix.Ppoll(e.poll, timeout, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("ppoll: %w", err)
	}
	for n <= 0 && waiting && err == nil {
		if left := due - e.clock.now().at; left <= 0 || left > spin {
			break
		}
	}
	return nil
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
		n, ok := p.device.read(e.input[headroom:])
		if !ok {
			return
		}
		e.fromDevice(p, e.input[headroom:][:n], e.clock.now())
	}
}

// fromDevice takes a packet through the port's middlebox to its link.
func (e *engine) fromDevice(p *port, packet []byte, now instant) {
	h, ok := parse(packet)
	switch {
	case !ok || h.length > mtu:
		e.discard(p, packet, causeMalformed, now)
	case p.Middlebox == nil:
		e.enter(p, packet[:h.length], h, now)
	case !h.routable(): // a middlebox need not know of neighbour discovery
		e.discard(p, packet, causeNotUnicast, now)
	default:
		e.emit(p, p.Middlebox.Process(packet[:h.length], Outbound, now.wall), now)
	}
}

// emit carries out what a middlebox decided. Each packet is copied, since they
// may share their bytes.
func (e *engine) emit(p *port, emissions []Emission, now instant) {
	for _, m := range emissions {
		frame := e.output[:headroom+copy(e.output[headroom:], m.Packet)]
		packet := frame[headroom:]
		h, ok := parse(packet)
		switch {
		case !ok || h.length > mtu || m.Direction == DirectionUnknown:
			e.discard(p, packet, causeMalformed, now)
		case m.Direction == Outbound:
			e.enter(p, packet[:h.length], h, now)
		case p.device.write(frame) != nil:
			e.discard(p, packet, causeOverflow, now)
		}
	}
}

// enter puts a packet on the link into the core. Since routes do not change and
// routers take no time, its fate is known at once.
func (e *engine) enter(p *port, packet []byte, h header, now instant) {
	e.seq++
	passage := Passage{ID: e.seq, From: p.Name, Event: Entered, Packet: packet}
	e.observe(passage, now)
	late, lost := cross(p.Link, e.links[p.index].in)
	if lost {
		passage.Event = Lost
		e.drop(passage, causeLost, now)
		return
	}
	f := flight{due: now.at + late, id: passage.ID, from: p.index}
	o := e.forward(packet, h, p.index, e.answer)
	if f.to = o.to; o.event == Delivered {
		e.depart(f, packet, now)
		return
	}
	passage.Event = o.event
	e.drop(passage, o.cause, now)
	if o.answer != nil {
		e.seq++
		f.id, f.from = e.seq, -1
		e.depart(f, o.answer, now)
	}
}

// cross draws what one link does to one packet.
func cross(l Link, r *rand.Rand) (delay time.Duration, lost bool) {
	if l.Loss > 0 && r.Float64() < l.Loss {
		return 0, true
	}
	if l.Jitter == 0 {
		return l.Delay, false
	}
	return l.delay(r.Float64()), false
}

// depart puts a copy of a packet on the link out of the core.
func (e *engine) depart(f flight, packet []byte, now instant) {
	to := e.ports[f.to]
	late, lost := cross(to.Link, e.links[f.to].out)
	if lost {
		e.drop(Passage{ID: f.id, From: e.name(f.from), To: to.Name, Event: Lost, Packet: packet}, causeLost, now)
		return
	}
	e.seq++
	f.due, f.seq, f.buffer = f.due+late, e.seq, e.buffer(headroom+len(packet))
	copy(f.buffer[headroom:], packet)
	e.queue.push(f)
}

func (e *engine) name(port int) string {
	if port < 0 {
		return ""
	}
	return e.ports[port].Name
}

// send delivers what is due.
func (e *engine) send() {
	for len(e.queue) > 0 {
		now := e.clock.now()
		if e.queue[0].due > now.at {
			return
		}
		e.deliver(e.queue.pop(), now)
	}
}

func (e *engine) deliver(f flight, now instant) {
	p, packet := e.ports[f.to], f.buffer[headroom:]
	passage := Passage{ID: f.id, From: e.name(f.from), To: p.Name, Due: f.due, Event: Delivered, Packet: packet}
	switch {
	case p.Middlebox != nil:
		e.stats.delivered(now.at - f.due)
		e.observe(passage, now) // first, because the middlebox may change the packet
		e.emit(p, p.Middlebox.Process(packet, Inbound, now.wall), now)
	case p.device.write(f.buffer) == nil:
		e.stats.delivered(now.at - f.due)
		e.observe(passage, now)
	default:
		passage.Event = Discarded
		e.drop(passage, causeOverflow, now)
	}
	e.recycle(f.buffer)
}

// expire tells middleboxes whose deadline has come.
func (e *engine) expire() {
	for _, p := range e.ports {
		if p.Middlebox == nil {
			continue
		}
		now := e.clock.now()
		if next := p.Middlebox.Next(); !next.IsZero() && e.clock.of(next) <= now.at {
			e.emit(p, p.Middlebox.Process(nil, DirectionUnknown, now.wall), now)
		}
	}
}

func (e *engine) discard(p *port, packet []byte, c cause, now instant) {
	e.drop(Passage{From: p.Name, Event: Discarded, Packet: packet}, c, now)
}

func (e *engine) drop(p Passage, c cause, now instant) {
	e.stats.dropped(c)
	e.observe(p, now)
}

func (e *engine) observe(p Passage, now instant) {
	if e.config.Observe != nil {
		p.At, p.Wall = now.at, now.wall
		e.config.Observe(p)
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
