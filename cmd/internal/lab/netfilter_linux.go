package lab

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

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

// program loads a box's rules.
func program(ns *netlab.Namespace, r Rules) error {
	c, err := openNetfilter(ns)
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	filterChains(c, r)
	if r.Masquerade {
		masqueradeChain(c, r.Ports)
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
func filterChains(c *nftables.Conn, r Rules) {
	table := c.AddTable(filterTable())
	forward := c.AddChain(baseChain(table, "forward", nftables.ChainHookForward))
	rule(c, forward, "", ctState(expr.CtStateBitINVALID), verdict(expr.VerdictDrop))
	if r.DropUDP {
		rule(c, forward, "", protocol(unix.IPPROTO_UDP), verdict(expr.VerdictDrop))
	}
	if r.RewriteTTL != 0 {
		rule(c, forward, "", family(unix.NFPROTO_IPV4), rewrite(8, r.RewriteTTL, 10)) // RFC 791 section 3.1: TTL, header checksum
		rule(c, forward, "", family(unix.NFPROTO_IPV6), rewrite(7, r.RewriteTTL, 0))  // RFC 8200 section 3: hop limit, no checksum
	}
	rule(c, forward, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	rule(c, forward, "", from("lan"), verdict(expr.VerdictAccept))
	rule(c, forward, unsolicitedMark, protocol(unix.IPPROTO_TCP), counter, answer(r.Unsolicited))

	input := c.AddChain(baseChain(table, "input", nftables.ChainHookInput))
	rule(c, input, "", ctState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	rule(c, input, "", protocol(unix.IPPROTO_ICMP), verdict(expr.VerdictAccept))
	rule(c, input, "", protocol(unix.IPPROTO_ICMPV6), verdict(expr.VerdictAccept))
	rule(c, input, unsolicitedMark, protocol(unix.IPPROTO_TCP), counter, answer(r.Unsolicited))
}

func masqueradeChain(c *nftables.Conn, p Ports) {
	table := c.AddTable(&nftables.Table{Name: "nat", Family: nftables.TableFamilyIPv4})
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	rule(c, chain, "", to("wan"), exprs{&expr.Masq{FullyRandom: p == PortsRandom}})
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
func answer(u Unsolicited) exprs {
	switch u {
	case Reset:
		return exprs{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
	case Poison:
		return verdict(expr.VerdictAccept)
	}
	return verdict(expr.VerdictDrop)
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
				packets += counted(r)
			}
		}
	}
	return packets, nil
}

func counted(r *nftables.Rule) uint64 {
	for _, e := range r.Exprs {
		if c, ok := e.(*expr.Counter); ok {
			return c.Packets
		}
	}
	return 0
}
