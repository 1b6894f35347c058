package lab

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"tcppunch/predict/nat"
)

// A step is one packet of a script, or a pause.
type step struct {
	out    bool
	flags  nat.Flags
	seq    uint32
	ack    uint32
	data   int
	window uint16
	peer   int // another port of the peer
	icmp   *[2]uint8
	pause  time.Duration
}

func o(f nat.Flags, seq, ack uint32) step { return step{out: true, flags: f, seq: seq, ack: ack} }
func i(f nat.Flags, seq, ack uint32) step { return step{flags: f, seq: seq, ack: ack} }

// fails is an ICMP error from outside about the inside's SYN.
func fails(kind, code uint8) step { return step{icmp: &[2]uint8{kind, code}, seq: isn} }

func (s step) String() string {
	switch {
	case s.pause > 0:
		return "pause " + s.pause.String()
	case s.icmp != nil:
		return fmt.Sprintf("in ICMP %d/%d", s.icmp[0], s.icmp[1])
	}
	way := map[bool]string{true: "out", false: "in"}[s.out]
	return fmt.Sprintf("%s %s seq %d ack %d len %d peer %d", way, flagNames(byte(s.flags)), s.seq, s.ack, s.data, s.peer)
}

// bytes makes the packet of a step. Every script has a port of its own.
func (s step) bytes(port uint16) []byte {
	inside, outside := netip.AddrPortFrom(diffInside, port), netip.AddrPortFrom(diffExternal, port)
	peer := netip.AddrPortFrom(diffPeer, uint16(6000+s.peer))
	switch {
	case s.icmp != nil:
		quote := step{out: true, flags: nat.SYN, seq: s.seq}.segment(outside, peer)
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: diffRouter.AsSlice(), DstIP: diffExternal.AsSlice()}
		return serialize(ip, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(s.icmp[0], s.icmp[1])}, gopacket.Payload(quote))
	case s.out:
		return s.segment(inside, peer)
	}
	return s.segment(peer, outside)
}

func (s step) segment(from, to netip.AddrPort) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: from.Addr().AsSlice(), DstIP: to.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(from.Port()), DstPort: layers.TCPPort(to.Port()), Seq: s.seq, Ack: s.ack, Window: 64240,
		SYN: s.flags.Has(nat.SYN), ACK: s.flags.Has(nat.ACK), RST: s.flags.Has(nat.RST), FIN: s.flags.Has(nat.FIN), PSH: s.flags.Has(nat.PSH)}
	if s.window != 0 {
		tcp.Window = s.window
	}
	if tcp.RST {
		tcp.Window = 0
	}
	if tcp.SYN {
		tcp.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}},
			{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2}, {OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}}}
	}
	tcp.SetNetworkLayerForChecksum(ip)
	return serialize(ip, tcp, gopacket.Payload(make([]byte, s.data)))
}

// The inside starts at isn, the peer at far.
const isn, far = 1_000_000, 3_000_000_000

// A script is an exchange that both NATs must treat alike.
type script struct {
	name  string
	steps []step
}

const synack, rstack = nat.SYN | nat.ACK, nat.RST | nat.ACK

var crossed = []step{o(nat.SYN, isn, 0), i(nat.SYN, far, 0)}

func then(first []step, more ...step) []step {
	return append(first[:len(first):len(first)], more...)
}

var scripts = []script{
	{"three-way", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), {out: true, flags: nat.ACK | nat.PSH, seq: isn + 1, ack: far + 1, data: 100},
		i(nat.ACK, far+1, isn+101), o(nat.FIN|nat.ACK, isn+101, far+1), i(nat.FIN|nat.ACK, far+1, isn+102), o(nat.ACK, isn+102, far+2), i(nat.ACK, far+2, isn+102)}},
	{"crossing", then(crossed, o(synack, isn, far+1), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), i(nat.ACK, far+1, isn+1),
		step{out: true, flags: nat.ACK | nat.PSH, seq: isn + 1, ack: far + 1, data: 10}, i(nat.ACK, far+1, isn+11))},
	{"crossing, SYNs again", then(crossed, o(nat.SYN, isn, 0), i(nat.SYN, far, 0), i(synack, far, isn+1), i(synack, far, isn+1), o(synack, isn, far+1), o(nat.ACK, isn+1, far+1))},
	{"late SYN", []step{i(nat.SYN, far, 0), o(nat.SYN, isn, 0), i(nat.SYN, far, 0), o(synack, isn, far+1), i(nat.ACK, far+1, isn+1)}},
	{"late side", []step{i(nat.SYN, far, 0), o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"RST and ACK in SYN_SENT", []step{o(nat.SYN, isn, 0), i(rstack, 0, isn+1), i(synack, far, isn+1), i(nat.SYN, far, 0), o(nat.SYN, isn+7, 0), i(synack, far, isn+8)}},
	{"bare RST in SYN_SENT", []step{o(nat.SYN, isn, 0), i(nat.RST, 12345, 0), i(nat.SYN, far, 0), o(nat.SYN, isn, 0), i(nat.SYN, far, 0)}},
	{"bare RST of 0 in SYN_SENT", []step{o(nat.SYN, isn, 0), i(nat.RST, 0, 0), i(nat.SYN, far, 0)}},
	{"RST that acknowledges too much", []step{o(nat.SYN, isn, 0), i(rstack, 0, isn+2), i(synack, far, isn+1)}},
	{"RST that acknowledges too little", []step{o(nat.SYN, isn, 0), i(rstack, 0, isn), i(synack, far, isn+1)}},
	{"RST that acknowledges nothing known", []step{o(nat.SYN, isn, 0), i(rstack, 0, isn-500_000), i(synack, far, isn+1)}},
	{"SYN-ACK that acknowledges too much", []step{o(nat.SYN, isn, 0), i(synack, far, isn+2), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"SYN-ACK that acknowledges too little", []step{o(nat.SYN, isn, 0), i(synack, far, isn), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"SYN-ACK that acknowledges nothing known", []step{o(nat.SYN, isn, 0), i(synack, far, isn-500_000), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"ICMP errors", []step{o(nat.SYN, isn, 0), fails(11, 0), fails(3, 1), fails(3, 3), fails(3, 13), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"ICMP error about nothing", []step{fails(3, 3), o(nat.SYN, isn, 0)}},
	{"greater ISN in SYN_SENT", []step{o(nat.SYN, isn, 0), o(nat.SYN, isn+70_000, 0), i(synack, far, isn+70_001), o(nat.ACK, isn+70_001, far+1)}},
	{"lesser ISN in SYN_SENT", []step{o(nat.SYN, isn, 0), o(nat.SYN, isn-70_000, 0), i(synack, far, isn-69_999), i(synack, far, isn+1), o(nat.ACK, isn-69_999, far+1)}},
	{"much lesser ISN in SYN_SENT", []step{o(nat.SYN, isn, 0), o(nat.SYN, isn-700_000, 0), i(synack, far, isn-699_999), o(nat.ACK, isn-699_999, far+1)}},
	{"ISN 500 greater in SYN_SENT2", then(crossed, o(nat.SYN, isn+500, 0), i(synack, far, isn+501), o(nat.ACK, isn+501, far+1))},
	{"ISN 500 lesser in SYN_SENT2", then(crossed, o(nat.SYN, isn-500, 0), i(synack, far, isn-499))},
	{"ISN 70000 greater in SYN_SENT2", then(crossed, o(nat.SYN, isn+70_000, 0), i(synack, far, isn+70_001))},
	{"ISN 70000 lesser in SYN_SENT2", then(crossed, o(nat.SYN, isn-70_000, 0), i(synack, far, isn-69_999))},
	{"ISN a million greater in SYN_SENT2", then(crossed, o(nat.SYN, isn+1_000_000, 0), i(synack, far, isn+1_000_001))},
	{"peer's greater ISN in SYN_SENT2", then(crossed, i(nat.SYN, far+70_000, 0), o(synack, isn, far+70_001), i(synack, far+70_000, isn+1))},
	{"peer's lesser ISN in SYN_SENT2", then(crossed, i(nat.SYN, far-70_000, 0), o(synack, isn, far-69_999))},
	{"RST and ACK in SYN_SENT2", then(crossed, i(rstack, 0, isn+1), o(nat.SYN, isn, 0), i(nat.SYN, far, 0), o(nat.SYN, isn+500, 0), i(synack, far, isn+1))},
	{"bare RST in SYN_SENT2", then(crossed, i(nat.RST, far+1, 0), o(nat.SYN, isn, 0), i(synack, far, isn+1))},
	{"bare RST far off in SYN_SENT2", then(crossed, i(nat.RST, far+1_000_000, 0), o(synack, isn, far+1))},
	{"own RST in SYN_SENT2", then(crossed, o(rstack, isn+1, far+1), o(nat.SYN, isn+9, 0), i(synack, far, isn+10))},
	{"own bare RST in SYN_SENT2", then(crossed, o(nat.RST, isn+1, 0), o(nat.SYN, isn+9, 0), i(synack, far, isn+10))},
	{"RST in SYN_RECV", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), i(nat.RST, far+1, 0), o(nat.ACK, isn+1, far+1), o(nat.SYN, isn+7, 0)}},
	{"RST and ACK in SYN_RECV", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), i(rstack, far+1, isn+1), o(nat.SYN, isn+7, 0), i(synack, far+9, isn+8), o(nat.ACK, isn+8, far+10)}},
	{"own RST in SYN_RECV", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.RST, isn+1, 0), o(nat.SYN, isn+7, 0), i(synack, far, isn+8), o(nat.ACK, isn+8, far+1)}},
	{"RST with a wrong number in SYN_RECV", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), i(nat.RST, far+5_000_000, 0), o(nat.ACK, isn+1, far+1)}},
	{"RST when established", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), i(nat.RST, far+1, 0), i(nat.ACK, far+1, isn+1), o(nat.SYN, isn+7, 0)}},
	{"RST beside the number when established", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), i(nat.RST, far+100, 0), o(nat.ACK, isn+1, far+1), i(nat.RST, far-9, 0), i(nat.ACK, far+1, isn+1)}},
	{"SYN-ACK by hand", []step{o(nat.SYN, isn, 0), o(synack, isn, far+1), i(synack, far, isn+1)}},
	{"no connection starts like this", []step{o(synack, isn, far), o(nat.FIN|nat.ACK, isn, far), o(rstack, isn, far), o(nat.RST, isn, 0), i(synack, far, isn)}},
	{"picked up in the middle", []step{o(nat.ACK, isn, far), i(nat.ACK, far, isn), {out: true, flags: nat.ACK, seq: isn, ack: far, data: 50}, i(nat.ACK, far, isn+50)}},
	{"unsolicited ones", []step{i(synack, far, isn), i(nat.ACK, far, isn), i(nat.FIN|nat.ACK, far, isn), i(nat.RST, far, 0), i(rstack, far, isn), i(nat.SYN, far, 0), i(nat.SYN|nat.FIN, far, 0)}},
	{"repeated SYNs", []step{o(nat.SYN, isn, 0), o(nat.SYN, isn, 0), o(nat.SYN, isn, 0), i(synack, far, isn+1), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1)}},
	{"one mapping for two peers", []step{o(nat.SYN, isn, 0), {out: true, flags: nat.SYN, seq: isn, peer: 1}, {flags: synack, seq: far, ack: isn + 1, peer: 1}, i(nat.SYN, far, 0), {flags: nat.SYN, seq: far, peer: 2}}},
	{"ACK in SYN_SENT", []step{o(nat.SYN, isn, 0), i(nat.ACK, far, isn-100), o(nat.RST, isn-100, 0), o(nat.SYN, isn, 0), i(synack, far, isn+1)}},
	{"ACK in SYN_SENT2", then(crossed, i(nat.ACK, far+1, isn+1), o(nat.ACK, isn+1, far+1), o(synack, isn, far+1), i(nat.ACK, far+1, isn+1), o(nat.ACK, isn+1, far+1))},
	{"data beyond the window", []step{o(nat.SYN, isn, 0), {flags: synack, seq: far, ack: isn + 1, window: 1000}, o(nat.ACK, isn+1, far+1),
		{out: true, flags: nat.ACK, seq: isn + 500_000, ack: far + 1, data: 10}, {out: true, flags: nat.ACK, seq: isn + 1, ack: far + 1, data: 10}, i(nat.ACK, far+1, isn+500_000)}},
	{"SYN again when established", []step{o(nat.SYN, isn, 0), i(synack, far, isn+1), o(nat.ACK, isn+1, far+1), o(nat.SYN, isn+900_000, 0), i(nat.ACK, far+1, isn+1), o(nat.RST, isn+1, 0), i(nat.SYN, far, 0)}},
	{"split handshake", []step{o(nat.SYN, isn, 0), i(nat.SYN, far, 0), o(synack, isn, far+1), i(nat.ACK, far+1, isn+1)}},
}
