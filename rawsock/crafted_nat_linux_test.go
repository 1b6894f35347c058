package rawsock

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tcppunch/rawsock/netlab"
	"tcppunch/rawsock/netlab/netlabtest"
)

// natted is a host behind a Linux NAT: a masquerade that keeps ports where it
// can and drops what nobody inside has asked for.
type natted struct {
	host, router *netlab.Namespace
	inside       netip.AddrPort
	outside      netip.AddrPort // what the NAT makes of it
}

const masquerade = `
table inet filter {
	chain input { type filter hook input priority 0; policy drop; ct state established,related accept; }
}
table ip nat {
	chain postrouting { type nat hook postrouting priority 100; oifname "wan" masquerade; }
}`

// twoNATs joins two such hosts by a core, 20 ms from each router.
func twoNATs(t *testing.T) (a, b natted) {
	t.Helper()
	netlabtest.Require(t)
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("the program nft is not installed")
	}
	core, err := netlab.NewCore(netlab.CoreConfig{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { core.Close() })
	a = newNatted(t, nft, core, "a", "10.1.0", "203.0.113.1", 7001)
	b = newNatted(t, nft, core, "b", "10.2.0", "192.0.2.1", 7002)
	if err := core.Start(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func newNatted(t *testing.T, nft string, core *netlab.Core, name, network, public string, port uint16) natted {
	t.Helper()
	n := natted{host: netlabtest.Namespace(t, name), router: netlabtest.Namespace(t, "router-"+name)}
	gateway, inside, outside := netip.MustParseAddr(network+".1"), netip.MustParseAddr(network+".2"), netip.MustParseAddr(public)
	n.inside, n.outside = netip.AddrPortFrom(inside, port), netip.AddrPortFrom(outside, port)
	rules := exec.Command(nft, "-f", "-")
	rules.Stdin = strings.NewReader(masquerade)
	for _, step := range []func() error{
		func() error { return netlab.Veth(n.host, "eth0", n.router, "lan") },
		func() error { return n.host.AddAddress("eth0", netip.PrefixFrom(inside, 24)) },
		func() error { return n.router.AddAddress("lan", netip.PrefixFrom(gateway, 24)) },
		func() error { return n.host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), gateway, "") },
		func() error { return n.router.Sysctl("net.ipv4.ip_forward", "1") },
		func() error {
			return core.Attach(netlab.PortConfig{Namespace: n.router, Name: "wan", Link: netlab.Link{Delay: 20 * time.Millisecond},
				Addresses: []netip.Prefix{netip.PrefixFrom(outside, 32)}, Device: netlab.Packet})
		},
		func() error { return n.router.Start(rules) },
		rules.Wait,
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func TestCraftedSYNCrossesThroughLinuxNATs(t *testing.T) {
	a, b := twoNATs(t)
	peer := openIn(t, b.host, b.inside, Options{})
	o := craftedIn(t, a.host, CraftedConfig{Local: a.inside, Remote: b.outside})
	if err := o.SendSYN(); err != nil {
		t.Fatal(err)
	}
	mustConnect(t, peer, a.outside)
	conn, err := o.Wait(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.Wait(soon(t)); err != nil {
		t.Fatal(err)
	}
	trade(t, conn, take(t, peer), traded(t))
}

func TestTwoCraftedSYNsCrossThroughLinuxNATs(t *testing.T) {
	a, b := twoNATs(t)
	conns := make(chan net.Conn, 2)
	ends := []*Crafted{
		craftedIn(t, a.host, CraftedConfig{Local: a.inside, Remote: b.outside}),
		craftedIn(t, b.host, CraftedConfig{Local: b.inside, Remote: a.outside}),
	}
	for _, o := range ends {
		if err := o.SendSYN(); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range ends {
		go func() {
			conn, err := o.Wait(soon(t))
			if err != nil {
				t.Error(err)
			}
			conns <- conn
		}()
	}
	x, y := <-conns, <-conns
	if x == nil || y == nil {
		t.FailNow()
	}
	trade(t, x, y, traded(t))
}

// TestLinuxNATDoesNotTranslateACraftedSYNACK shows why the SYN-ACK that answers
// a SYN which never came is of no use behind a Linux NAT: conntrack takes it for
// invalid, since the one who sent the SYN does not acknowledge one.
func TestLinuxNATDoesNotTranslateACraftedSYNACK(t *testing.T) {
	a, b := twoNATs(t)
	tap := tapIn(t, a.router, TapConfig{Interface: "wan", Ports: []uint16{7001}})
	o := craftedIn(t, a.host, CraftedConfig{Local: a.inside, Remote: b.outside, TTL: 3, Peer: &Segment{Seq: 1000, Window: defaultWindow}})
	if err := o.SendSYN(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := o.Wait(ctx)
		done <- err
	}()
	for _, c := range []struct {
		what  string
		flags byte
		from  netip.AddrPort
	}{{"the SYN", syn, a.outside}, {"the SYN-ACK", synAck, a.inside}} {
		got := await(t, tap, c.what, func(s segment) bool { return s.flags == c.flags })
		if got.source != c.from {
			t.Errorf("%s left the router from %v, want %v", c.what, got.source, c.from)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
