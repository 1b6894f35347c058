package lab

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"tcppunch/predict/nat"
	"tcppunch/rawsock/netlab"
)

// emulator is a box of package predict/nat on a port of the core.
type emulator struct {
	name   string
	config nat.Config
	udp    bool // UDP may leave

	mu        sync.Mutex
	box       *nat.Box
	decisions []nat.Decision
	tell      func(Mapping) // is told of each decision as it is made; must not block
}

func newEmulator(name string, b Box, tell func(Mapping)) (*emulator, error) {
	e := &emulator{name: name, config: b.Behavior, udp: !b.DropUDP, tell: tell}
	e.config.Observe = e.note
	if err := e.forget(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return e, nil
}

// forget puts a new box in the place of the old one.
func (e *emulator) forget() error {
	c := e.config
	c.Seed = rand.Uint64()
	box, err := nat.NewBox(c)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.box, e.decisions = box, nil
	return nil
}

// note is called by the box, so with the lock held.
func (e *emulator) note(d nat.Decision) {
	if plain(d) {
		return
	}
	e.decisions = append(e.decisions, d)
	e.tell(mappingOf(e.name, d))
}

// plain is what passes in the middle of a connection, and tells nothing.
func plain(d nat.Decision) bool {
	return (d.Kind == nat.PassedOut || d.Kind == nat.PassedIn) && d.Flags&(nat.SYN|nat.RST) == 0
}

// Process carries one packet through the box.
func (e *emulator) Process(packet []byte, d netlab.Direction, now time.Time) []netlab.Emission {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch d {
	case netlab.Outbound:
		if !e.udp && isUDP(packet) {
			return nil
		}
		return emissions(e.box.Outbound(packet, now))
	case netlab.Inbound:
		return emissions(e.box.Inbound(packet, now))
	}
	return emissions(e.box.Advance(now))
}

// Next is when the box wants to act by itself.
func (e *emulator) Next() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.box.Next()
}

func emissions(list []nat.Emission) []netlab.Emission {
	var out []netlab.Emission
	for _, m := range list {
		direction := netlab.Outbound
		if m.Inside {
			direction = netlab.Inbound
		}
		out = append(out, netlab.Emission{Direction: direction, Packet: m.Packet})
	}
	return out
}

func isUDP(packet []byte) bool {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		return packet[9] == protocolUDP
	case len(packet) >= 40 && packet[0]>>4 == 6:
		return packet[6] == protocolUDP
	}
	return false
}

// log is what the box has decided since it was made.
func (e *emulator) log() []nat.Decision {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.decisions)
}

// unsolicited is how many TCP packets came that nobody inside had asked for.
func (e *emulator) unsolicited() (packets uint64) {
	for _, d := range e.log() {
		switch d.Kind {
		case nat.Filtered, nat.AnsweredReset, nat.AnsweredError, nat.Held, nat.Poisoned:
			if d.Protocol == nat.TCP {
				packets++
			}
		}
	}
	return packets
}

// mappings are the decisions on the timeline of the kernel's boxes.
func (e *emulator) mappings() []Mapping {
	var list []Mapping
	for _, d := range e.log() {
		list = append(list, mappingOf(e.name, d))
	}
	return list
}

// mappingOf puts a decision into the words of conntrack events.
func mappingOf(box string, d nat.Decision) Mapping {
	m := Mapping{At: d.At, Box: box, Change: Decided, Protocol: d.Protocol.String(), Inbound: !d.Outbound,
		Inside: d.Inside, Outside: d.Outside, Peer: d.Remote, Decision: d.Kind.String(), Reason: d.Reason}
	switch d.Kind {
	case nat.Mapped, nat.Reused:
		m.Change, m.State = Created, "SYN_SENT"
	case nat.Expired, nat.ResetKilled, nat.ErrorKilled:
		m.Change = Destroyed
	}
	return m
}
