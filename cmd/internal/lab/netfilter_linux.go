package lab

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tcppunch/predict/nat"
	"tcppunch/rawsock/netlab"
)

// unsolicitedMark is the user data of the rules that count what nobody inside
// asked for.
const unsolicitedMark = "unsolicited"

// openNetfilter opens a lasting connection from inside the namespace. The
// library's own way to enter one looks for the thread's number under /proc,
// which a supervisor without a /proc of its own does not have.
func openNetfilter(ns *netlab.Namespace) (c *nftables.Conn, err error) {
	err = ns.Do(func() error {
		c, err = nftables.New(nftables.AsLasting())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, nil
}

// program loads the rules of a box whose engine is netfilter. outside is its
// address on the wan interface.
func program(ns *netlab.Namespace, b Box, outside netip.Addr) error {
	if err := timeouts(ns, b.Behavior); err != nil {
		return err
	}
	c, err := openNetfilter(ns)
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	filterChains(c, b)
	if !b.Behavior.Firewall {
		translationChain(c, translation(b.Behavior, outside))
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("load netfilter rules: %w", err)
	}
	return nil
}

func filterTable() *nftables.Table {
	return &nftables.Table{Name: "filter", Family: nftables.TableFamilyINet}
}

// filterChains lets out what comes from inside and lets in what belongs to it.
// The invalid rule matters: without it, a client's SYN that conntrack does not
// like leaves with its private address.
func filterChains(c *nftables.Conn, b Box) {
	table := c.AddTable(filterTable())
	forward := c.AddChain(baseChain(table, "forward", nftables.ChainHookForward))
	rule(c, forward, "", ctState(expr.CtStateBitINVALID), verdict(expr.VerdictDrop))
	if b.DropUDP {
		rule(c, forward, "", protocol(unix.IPPROTO_UDP), verdict(expr.VerdictDrop))
	}
	if ttl := b.Behavior.RewriteTTL; ttl != 0 {
		rule(c, forward, "", family(unix.NFPROTO_IPV4), rewrite(8, ttl, 10)) // RFC 791 section 3.1: TTL, header checksum
		rule(c, forward, "", family(unix.NFPROTO_IPV6), rewrite(7, ttl, 0))  // RFC 8200 section 3: hop limit, no checksum
	}
	rule(c, forward, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	rule(c, forward, "", from("lan"), verdict(expr.VerdictAccept))
	rule(c, forward, unsolicitedMark, protocol(unix.IPPROTO_TCP), counter, answer(b.Behavior.Unsolicited))
	rule(c, forward, "", protocol(unix.IPPROTO_UDP), answerDatagram(b.Behavior.Unsolicited))

	input := c.AddChain(baseChain(table, "input", nftables.ChainHookInput))
	rule(c, input, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	rule(c, input, "", protocol(unix.IPPROTO_ICMP), verdict(expr.VerdictAccept))
	rule(c, input, "", protocol(unix.IPPROTO_ICMPV6), verdict(expr.VerdictAccept))
	rule(c, input, unsolicitedMark, protocol(unix.IPPROTO_TCP), counter, answer(b.Behavior.Unsolicited))
	rule(c, input, "", protocol(unix.IPPROTO_UDP), answerDatagram(b.Behavior.Unsolicited))
}

func translationChain(c *nftables.Conn, how exprs) {
	table := c.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	rule(c, chain, "", to("wan"), how)
}

// counted is how many ports a counting translator has, from the first on.
const firstCounted, counted = 40000, 20000

// translation is the statement that translates as the behaviour says.
func translation(b nat.Config, outside netip.Addr) exprs {
	switch {
	case b.Ports == nat.Sequential:
		// The counter is a number of this machine, a port is one of the network.
		return exprs{
			&expr.Immediate{Register: 1, Data: outside.AsSlice()},
			&expr.Numgen{Register: 2, Modulus: counted, Type: unix.NFT_NG_INCREMENTAL, Offset: firstCounted},
			&expr.Byteorder{SourceRegister: 2, DestRegister: 2, Op: expr.ByteorderHton, Len: 4, Size: 2},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, Specified: true},
		}
	case b.Ports == nat.Random && b.Low != 0: // the library forgets a masquerade's flags where it has ports
		return exprs{
			&expr.Immediate{Register: 1, Data: outside.AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(b.Low)},
			&expr.Immediate{Register: 3, Data: binaryutil.BigEndian.PutUint16(b.High)},
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2, RegProtoMax: 3, FullyRandom: true},
		}
	}
	return exprs{&expr.Masq{FullyRandom: b.Ports == nat.Random}}
}

// timeouts sets how long connection tracking remembers TCP. The kernel's
// resolution is a second.
func timeouts(ns *netlab.Namespace, b nat.Config) error {
	for key, d := range map[string]time.Duration{"syn_sent": b.Transitory, "syn_recv": b.Transitory, "established": b.Established} {
		if d == 0 {
			continue
		}
		seconds := fmt.Sprint(int(math.Ceil(d.Seconds())))
		if err := ns.Sysctl("net.netfilter.nf_conntrack_tcp_timeout_"+key, seconds); err != nil {
			return err
		}
	}
	return nil
}

func baseChain(t *nftables.Table, name string, hook *nftables.ChainHook) *nftables.Chain {
	drop := nftables.ChainPolicyDrop
	return &nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hook,
		Priority: nftables.ChainPriorityFilter, Policy: &drop}
}

type exprs []expr.Any

func rule(c *nftables.Conn, chain *nftables.Chain, mark string, parts ...exprs) {
	r := &nftables.Rule{Table: chain.Table, Chain: chain, UserData: []byte(mark)}
	for _, p := range parts {
		r.Exprs = append(r.Exprs, p...)
	}
	c.AddRule(r)
}

func ctState(bits uint32) exprs {
	return exprs{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func from(name string) exprs { return onInterface(expr.MetaKeyIIFNAME, name) }
func to(name string) exprs   { return onInterface(expr.MetaKeyOIFNAME, name) }

func onInterface(key expr.MetaKey, name string) exprs {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return exprs{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded}}
}

func protocol(number byte) exprs {
	return exprs{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}}}
}

func family(number byte) exprs {
	return exprs{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}}}
}

// rewrite sets one byte of the network header; checksum is where the header's
// checksum is, or 0 where it has none.
func rewrite(offset uint32, value uint8, checksum uint32) exprs {
	p := &expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 1}
	if checksum != 0 {
		p.CsumType, p.CsumOffset = expr.CsumTypeInet, checksum
	}
	return exprs{&expr.Immediate{Register: 1, Data: []byte{value}}, p}
}

func verdict(kind expr.VerdictKind) exprs { return exprs{&expr.Verdict{Kind: kind}} }

var counter = exprs{&expr.Counter{}}

// answer is what happens to a packet that nobody inside asked for.
func answer(u nat.Unsolicited) exprs {
	switch u {
	case nat.Reset:
		return exprs{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	case nat.Unreachable:
		return exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
	case nat.Poison:
		return verdict(expr.VerdictAccept)
	}
	return verdict(expr.VerdictDrop)
}

// answerDatagram is what happens to a datagram that nobody inside asked for:
// what rejects a SYN with a RST rejects a datagram as an unreachable port, and a
// kernel that accepts one does so itself, and keeps an entry of it that takes
// the port.
func answerDatagram(u nat.Unsolicited) exprs {
	if u == nat.Reset {
		return exprs{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}
	}
	return answer(u)
}

// countUnsolicited reads how many TCP packets a box got that nobody inside had
// asked for.
func countUnsolicited(ns *netlab.Namespace) (packets uint64, err error) {
	c, err := openNetfilter(ns)
	if err != nil {
		return 0, err
	}
	defer c.CloseLasting()
	for _, name := range []string{"forward", "input"} {
		rules, err := c.GetRules(filterTable(), &nftables.Chain{Name: name})
		if err != nil {
			return 0, fmt.Errorf("read netfilter counters: %w", err)
		}
		for _, r := range rules {
			if string(r.UserData) == unsolicitedMark {
				packets += packetsOf(r)
			}
		}
	}
	return packets, nil
}

func packetsOf(r *nftables.Rule) uint64 {
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c.Packets
		}
	}
	return 0
}
