package netlab

import (
	"net/netip"
	"time"
)

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
		case m.Direction == DirectionUnknown:
			e.discard(p, packet, causeMisdirected, now)
		case !ok || h.length > mtu:
			e.discard(p, packet, causeMalformed, now)
		case m.Direction == Outbound:
			e.enter(p, packet[:h.length], h, now)
		case p.device.write(frame) != nil:
			e.discard(p, packet, causeOverflow, now)
		}
	}
}

// enter puts a packet on the link into the core. Since routes do not change and
// routers take no time, its fate is known at once, up to the link out.
func (e *engine) enter(p *port, packet []byte, h header, now instant) {
	e.seq++
	passage := Passage{ID: e.seq, From: p.Name, Event: Entered, Packet: packet}
	e.observe(passage, instant{at: now.at - now.age, wall: now.wall.Add(-now.age)})
	arrival, c, ok := e.lanes[p.index].up.cross(now.at-now.age, len(packet))
	if !ok {
		passage.Event = c.event()
		e.drop(p, passage, c, now)
		return
	}
	f := flight{due: arrival, id: passage.ID, from: p.index}
	o := e.forward(packet, h, p.index, e.answer)
	if f.to = o.to; o.event == Delivered {
		e.depart(f, packet, now)
		return
	}
	passage.Event = o.event
	e.drop(p, passage, o.cause, now)
	e.reply(f, o, now)
}

// reply sends the error of a router, as often as it may send one.
func (e *engine) reply(f flight, o outcome, now instant) {
	switch {
	case o.answer == nil:
	case !e.mayAnswer(o.router, f.due):
		e.ports[f.to].stats.dropped(causeSilenced)
	default:
		e.seq++
		f.id, f.from = e.seq, -1
		e.depart(f, o.answer, now)
	}
}

func (e *engine) mayAnswer(router netip.Addr, at time.Duration) bool {
	if e.config.ErrorRate < 0 {
		return true
	}
	l := e.silences[router]
	if l == nil {
		l = new(limiter)
		e.silences[router] = l
	}
	return l.allow(at, time.Second/time.Duration(e.config.ErrorRate))
}

// depart puts a copy of a packet on the link out of the core. Packets reach the
// queue of a link with a rate in another order than they entered, so that they
// wait until they are there.
func (e *engine) depart(f flight, packet []byte, now instant) {
	down := &e.lanes[f.to].down
	f.waits = down.Rate > 0
	if !f.waits && !e.descend(&f, packet, now) {
		return
	}
	f.buffer = e.buffer(headroom + len(packet))
	copy(f.buffer[headroom:], packet)
	e.push(f)
}

// descend crosses the link towards a port; it returns false if the packet does
// not arrive.
func (e *engine) descend(f *flight, packet []byte, now instant) bool {
	arrival, c, ok := e.lanes[f.to].down.cross(f.due, len(packet))
	if !ok {
		to := e.ports[f.to]
		e.drop(to, Passage{ID: f.id, From: e.name(f.from), To: to.Name, Event: c.event(), Packet: packet}, c, now)
		return false
	}
	f.due, f.waits = arrival, false
	return true
}

// push keeps the order of packets due at the same time.
func (e *engine) push(f flight) {
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
		f := e.queue.pop()
		switch {
		case !f.waits:
			e.deliver(f, now)
		case e.descend(&f, f.buffer[headroom:], now):
			e.push(f)
		default:
			e.recycle(f.buffer)
		}
	}
}

func (e *engine) deliver(f flight, now instant) {
	p, packet := e.ports[f.to], f.buffer[headroom:]
	passage := Passage{ID: f.id, From: e.name(f.from), To: p.Name, Due: f.due, Event: Delivered, Packet: packet}
	switch {
	case p.Middlebox != nil:
		p.stats.delivered(now.at - f.due)
		e.observe(passage, now) // first, because the middlebox may change the packet
		e.emit(p, p.Middlebox.Process(packet, Inbound, now.wall), now)
	case p.device.write(f.buffer) == nil:
		p.stats.delivered(now.at - f.due)
		e.observe(passage, now)
	default:
		passage.Event = Discarded
		e.drop(p, passage, causeOverflow, now)
	}
	e.recycle(f.buffer)
}

// expire tells middleboxes whose deadline has come.
func (e *engine) expire() {
	for _, p := range e.ports {
		if p.Middlebox == nil {
			continue
		}
		next := p.Middlebox.Next()
		if next.IsZero() {
			continue
		}
		if now := e.clock.now(); e.clock.of(next) <= now.at {
			e.emit(p, p.Middlebox.Process(nil, DirectionUnknown, now.wall), now)
		}
	}
}

func (e *engine) discard(p *port, packet []byte, c cause, now instant) {
	e.drop(p, Passage{From: p.Name, Event: Discarded, Packet: packet}, c, now)
}

func (e *engine) drop(at *port, p Passage, c cause, now instant) {
	at.stats.dropped(c)
	e.observe(p, now)
}

func (e *engine) observe(p Passage, now instant) {
	if e.config.Observe != nil {
		p.At, p.Wall = now.at, now.wall
		e.config.Observe(p)
	}
}
