package rawsock

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

// flowFilter compiles the filter of TapConfig.Host and Ports for packets whose
// IP header starts at byte 14 after an Ethernet header, or at byte 0.
func flowFilter(host netip.Addr, ports []uint16, ethernet bool, snapLen int) ([]bpf.RawInstruction, error) {
	if len(ports) > MaxPorts {
		return nil, fmt.Errorf("filter %d ports: at most %d", len(ports), MaxPorts)
	}
	var p program
	base := p.family(ethernet)
	if !host.IsValid() && len(ports) == 0 {
		p.mark("4").mark("6").add(bpf.RetConstant{Val: uint32(snapLen)})
	} else {
		p.ipv4(base, host, ports)
		p.ipv6(base, host, ports)
		p.mark("accept").add(bpf.RetConstant{Val: uint32(snapLen)})
	}
	p.mark("reject").add(bpf.RetConstant{Val: 0})
	return p.assemble()
}

// MaxPorts is how many ports TapConfig takes. It keeps every branch of the filter within reach.
const MaxPorts = 32

// acceptAll lets every packet through, cut to snapLen.
func acceptAll(snapLen int) []bpf.RawInstruction {
	raw, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: uint32(snapLen)}})
	if err != nil {
		panic(err) // a constant program
	}
	return raw
}

// program is a list of instructions whose branches name marks instead of
// counting instructions.
type program struct {
	list  []bpf.Instruction
	to    map[int][2]string // the marks of the branch at an index: where true, where false
	marks map[string]int
}

func (p *program) add(list ...bpf.Instruction) { p.list = append(p.list, list...) }

// mark names the next instruction.
func (p *program) mark(name string) *program {
	if p.marks == nil {
		p.marks = map[string]int{}
	}
	p.marks[name] = len(p.list)
	return p
}

// when branches on the accumulator; an empty mark is the next instruction.
func (p *program) when(test bpf.JumpTest, value uint32, yes, no string) {
	if p.to == nil {
		p.to = map[int][2]string{}
	}
	p.to[len(p.list)] = [2]string{yes, no}
	p.add(bpf.JumpIf{Cond: test, Val: value})
}

// always goes on at a mark: every value is at least 0.
func (p *program) always(mark string) { p.when(bpf.JumpGreaterOrEqual, 0, mark, mark) }

func (p *program) assemble() ([]bpf.RawInstruction, error) {
	for at, marks := range p.to {
		jump := p.list[at].(bpf.JumpIf)
		jump.SkipTrue, jump.SkipFalse = p.skip(at, marks[0]), p.skip(at, marks[1])
		p.list[at] = jump
	}
	raw, err := bpf.Assemble(p.list)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter: %w", err)
	}
	return raw, nil
}

// skip counts the instructions between a branch and a mark. A branch can skip
// 255, and with MaxPorts ports no program here is as long.
func (p *program) skip(at int, mark string) uint8 {
	if mark == "" {
		return 0
	}
	return uint8(p.marks[mark] - at - 1)
}

// family branches to "4", "6" or "reject" and returns where the IP header starts.
func (p *program) family(ethernet bool) (base uint32) {
	if ethernet {
		p.add(bpf.LoadAbsolute{Off: 12, Size: 2})
		p.when(bpf.JumpEqual, 0x0800, "4", "")
		p.when(bpf.JumpEqual, 0x86dd, "6", "reject")
		return 14
	}
	p.add(bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
	p.when(bpf.JumpEqual, 0x40, "4", "")
	p.when(bpf.JumpEqual, 0x60, "6", "reject")
	return 0
}

// ipv4 reads the header of RFC 791 section 3.1 and the ports of a first
// fragment. ICMP errors are types 3, 4, 5, 11 and 12 (RFC 1122 section 3.2.2).
func (p *program) ipv4(base uint32, host netip.Addr, ports []uint16) {
	p.mark("4").add(bpf.LoadAbsolute{Off: base + 9, Size: 1})
	p.when(bpf.JumpEqual, 6, "tcp4", "")
	p.when(bpf.JumpEqual, 1, "", "reject")
	p.add(bpf.LoadMemShift{Off: base}, bpf.LoadIndirect{Off: base, Size: 1})
	p.when(bpf.JumpGreaterThan, 12, "reject", "")
	p.when(bpf.JumpGreaterThan, 10, "accept", "")
	p.when(bpf.JumpGreaterThan, 5, "reject", "")
	p.when(bpf.JumpGreaterThan, 2, "accept", "reject")
	p.mark("tcp4")
	p.either(host, netip.Addr.Is4, base+12, base+16, "port4")
	p.mark("port4")
	if len(ports) == 0 {
		p.always("accept")
		return
	}
	p.add(bpf.LoadAbsolute{Off: base + 6, Size: 2})
	p.when(bpf.JumpBitsSet, 0x1fff, "reject", "")
	p.add(bpf.LoadMemShift{Off: base}, bpf.LoadIndirect{Off: base, Size: 2})
	p.oneOf(ports)
	p.add(bpf.LoadIndirect{Off: base + 2, Size: 2})
	p.oneOf(ports)
	p.always("reject")
}

// ipv6 reads the header of RFC 8200 section 3; packets with extension headers
// do not pass. ICMPv6 errors are types below 128 (RFC 4443 section 2.1).
func (p *program) ipv6(base uint32, host netip.Addr, ports []uint16) {
	p.mark("6").add(bpf.LoadAbsolute{Off: base + 6, Size: 1})
	p.when(bpf.JumpEqual, 6, "tcp6", "")
	p.when(bpf.JumpEqual, 58, "", "reject")
	p.add(bpf.LoadAbsolute{Off: base + 40, Size: 1})
	p.when(bpf.JumpLessThan, 128, "accept", "reject")
	p.mark("tcp6")
	p.either(host, netip.Addr.Is6, base+8, base+24, "port6")
	p.mark("port6")
	if len(ports) == 0 {
		p.always("accept")
		return
	}
	p.add(bpf.LoadAbsolute{Off: base + 40, Size: 2})
	p.oneOf(ports)
	p.add(bpf.LoadAbsolute{Off: base + 42, Size: 2})
	p.oneOf(ports)
	p.always("reject")
}

// oneOf accepts the packet if the accumulator is one of the ports.
func (p *program) oneOf(ports []uint16) {
	for _, port := range ports {
		p.when(bpf.JumpEqual, uint32(port), "accept", "")
	}
}

// either goes on at next when host is the source or the destination, or when
// there is no host; a host of the other family rejects.
func (p *program) either(host netip.Addr, family func(netip.Addr) bool, source, destination uint32, next string) {
	switch {
	case !host.IsValid():
		return
	case !family(host):
		p.always("reject")
		return
	}
	other := next + "destination"
	p.address(host, source, next, other)
	p.mark(other)
	p.address(host, destination, next, "reject")
}

func (p *program) address(host netip.Addr, off uint32, yes, no string) {
	for words := host.AsSlice(); len(words) > 0; words, off = words[4:], off+4 {
		p.add(bpf.LoadAbsolute{Off: off, Size: 4})
		then := ""
		if len(words) == 4 {
			then = yes
		}
		p.when(bpf.JumpEqual, binary.BigEndian.Uint32(words), then, no)
	}
}
