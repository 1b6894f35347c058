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
)

// engine is the thread that moves the packets.
type engine struct {
	*Core
	clock clock
	poll  []unix.PollFd // one per port, then the stop event
	queue queue
	free  [][]byte
	seq   uint64
	links []links
	quote []byte // scratch for answers
	done  chan error
}

// links holds the randomness of a port's link, per direction, so that what
// happens in one does not depend on the order of events in another.
type links struct{ in, out *rand.Rand }

func startEngine(c *Core) (*engine, error) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	e := &engine{Core: c, quote: make([]byte, maxPacket), done: make(chan error, 1)}
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
		b := e.buffer()
		n, ok := p.device.read(b[headroom:])
		if !ok {
			e.recycle(b)
			return
		}
		e.fromDevice(p, b[:headroom+n], e.clock.now())
	}
}

// fromDevice takes a packet through the port's middlebox to its link.
func (e *engine) fromDevice(p *port, b []byte, now instant) {
	h, ok := parse(b[headroom:])
	if !ok || h.length > mtu {
		e.discard(p, b, causeMalformed, now)
		return
	}
	b = b[:headroom+h.length]
	if p.Middlebox == nil {
		e.enter(p, b, h, now)
		return
	}
	if !h.routable() { // a middlebox need not know of neighbour discovery
		e.discard(p, b, causeNotUnicast, now)
		return
	}
	e.emit(p, p.Middlebox.Process(b[headroom:], Outbound, now.wall), now)
	e.recycle(b)
}

// emit carries out what a middlebox decided.
func (e *engine) emit(p *port, emissions []Emission, now instant) {
	for _, m := range emissions {
		h, ok := parse(m.Packet)
		b := e.buffer()
		n := copy(b[headroom:], m.Packet)
		b = b[:headroom+n]
		switch {
		case !ok || h.length > mtu:
			e.discard(p, b, causeMalformed, now)
		case m.Direction == Outbound:
			e.enter(p, b, h, now)
		case m.Direction != Inbound:
			e.discard(p, b, causeMalformed, now)
		case p.device.write(b) != nil:
			e.discard(p, b, causeOverflow, now)
		default:
			e.recycle(b)
		}
	}
}

// enter puts a packet on the link into the core. Since routes do not change and
// routers take no time, its fate is known at once.
func (e *engine) enter(p *port, b []byte, h header, now instant) {
	e.seq++
	id := e.seq
	e.observe(Passage{ID: id, From: p.Name, Event: Entered, Packet: b[headroom:]}, now)
	late, lost := cross(p.Link, e.links[p.index].in)
	if lost {
		e.lose(Passage{ID: id, From: p.Name, Event: Lost, Packet: b[headroom:]}, causeLost, b, now)
		return
	}
	o := e.forward(b[headroom:], h, p.index, e.quote)
	flight := flight{due: now.at + late, id: id, from: p.index, to: o.to, buffer: b}
	if o.event != Delivered {
		e.drop(Passage{ID: id, From: p.Name, Event: o.event, Packet: b[headroom:]}, o.cause, now)
		if o.answer == nil {
			e.recycle(b)
			return
		}
		e.seq++
		flight.id, flight.from = e.seq, -1
		flight.buffer = b[:headroom+copy(b[headroom:cap(b)], o.answer)]
	}
	e.depart(flight, now)
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

// depart puts a packet on the link out of the core.
func (e *engine) depart(f flight, now instant) {
	to := e.ports[f.to]
	late, lost := cross(to.Link, e.links[f.to].out)
	if lost {
		e.lose(Passage{ID: f.id, From: e.name(f.from), To: to.Name, Event: Lost, Packet: f.buffer[headroom:]}, causeLost, f.buffer, now)
		return
	}
	f.due += late
	e.seq++
	f.seq = e.seq
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

func (e *engine) discard(p *port, b []byte, c cause, now instant) {
	e.lose(Passage{From: p.Name, Event: Discarded, Packet: b[headroom:]}, c, b, now)
}

func (e *engine) lose(p Passage, c cause, b []byte, now instant) {
	e.drop(p, c, now)
	e.recycle(b)
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

func (e *engine) buffer() []byte {
	if n := len(e.free); n > 0 {
		b := e.free[n-1]
		e.free = e.free[:n-1]
		return b
	}
	return make([]byte, headroom+maxPacket)
}

func (e *engine) recycle(b []byte) { e.free = append(e.free, b[:cap(b)]) }
