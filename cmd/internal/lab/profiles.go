package lab

// named is one profile with a name. What differs from a box's defaults is
// written in the grammar itself, so that anybody can try a variant.
type namedText struct {
	name, description, standsFor, source string
	box                                  string // settings; "" with kind hostAlone
	kind                                 profileKind
}

type profileKind int

const (
	translator profileKind = iota
	hostAlone              // no box
	firewall4
	firewall6
	sharedBox // both clients behind it
	tutorial  // the networks of a home-lab tutorial
)

// named are the profiles that have names. netfilter boxes are the running
// kernel's own; all others are package predict/nat's, with what the source
// says of the device, and the defaults where it says nothing.
var named = []namedText{
	{name: "public", kind: hostAlone,
		description: "no box: the host itself has the public address and answers an early SYN with RST",
		standsFor:   "a rented server, a campus without NAT",
		source:      "RFC 9293 section 3.5.2"},
	{name: "firewall", kind: firewall4, box: "engine=netfilter",
		description: "stateful IPv4 filter without translation, drops what was not asked for",
		standsFor:   "an institute's firewall before public addresses",
		source:      "netfilter, this kernel"},
	{name: "firewall6", kind: firewall6, box: "engine=netfilter",
		description: "stateful IPv6 filter, drops what was not asked for",
		standsFor:   "a home router's IPv6 side",
		source:      "RFC 6092; netfilter, this kernel"},

	// The four classic types were defined for UDP; these are their TCP twins.
	{name: "full-cone", box: "filtering=eif",
		description: "one mapping for all destinations, open to everybody",
		standsFor:   "a router with endpoint-independent filtering, a forwarded port",
		source:      "RFC 3489 section 5"},
	{name: "address-restricted", box: "filtering=adf",
		description: "one mapping for all destinations, open to addresses that were sent to",
		standsFor:   "some home routers (12 % of NATs filter so)",
		source:      "RFC 3489 section 5"},
	{name: "port-restricted", box: "filtering=apdf",
		description: "one mapping for all destinations, open to endpoints that were sent to",
		standsFor:   "most home routers",
		source:      "RFC 3489 section 5"},
	{name: "symmetric", box: "mapping=apdm,ports=random",
		description: "another random port for every destination",
		standsFor:   "enterprise NATs, some carriers",
		source:      "RFC 3489 section 5"},

	{name: "linux", box: "engine=netfilter",
		description: "netfilter masquerade, input policy drop; keeps ports, one mapping for all destinations",
		standsFor:   "most home routers, which are Linux inside",
		source:      "netfilter, this kernel"},
	{name: "linux-accept", box: "engine=netfilter,unsolicited=poison",
		description: "masquerade, input policy accept: the router's own kernel answers an early SYN with RST",
		standsFor:   "a router set up with one masquerade rule and nothing else",
		source:      "netfilter, this kernel"},
	{name: "openwrt", box: "engine=netfilter,unsolicited=rst",
		description: "masquerade, WAN input reject: the firewall answers an early SYN with RST",
		standsFor:   "OpenWrt as it is delivered",
		source:      "openwrt/firewall4, zone wan: input REJECT"},
	{name: "linux-random", box: "engine=netfilter,mapping=connection,ports=random",
		description: "masquerade fully-random: another random port for every connection",
		standsFor:   "container hosts, and routers hardened against port prediction",
		source:      "netfilter, this kernel"},
	{name: "linux-sequential", box: "engine=netfilter,mapping=connection,ports=sequential:1",
		description: "source NAT to numbered ports: the next port for every connection",
		standsFor:   "routers with counting allocators, on a real TCP state machine",
		source:      "netfilter numgen, this kernel"},

	{name: "pf", box: "mapping=apdm,ports=random:50001-65535,rst=drop-next",
		description: "a random port of 50001 to 65535 per destination; the first SYN after a RST is dropped",
		standsFor:   "OpenBSD, FreeBSD and pfSense firewalls",
		source:      "pf.conf(5), sys/net/pf.c"},
	{name: "cisco-ios", box: "mapping=apdm,ports=preserve,overload=yes",
		description: "keeps the port where it is free for the destination, one outside port for several destinations",
		standsFor:   "Cisco IOS port address translation",
		source:      "Cisco IOS NAT, overload; Guha and Francis 2005"},
	{name: "cisco-asa", box: "seq=rewrite,crossing=drop",
		description: "keeps ports, chooses the initial sequence numbers itself, drops the SYN of a simultaneous open",
		standsFor:   "Cisco ASA firewalls",
		source:      "Cisco ASA syslog, drop reason tcp-dual-open; sequence number randomization"},
	{name: "home-sequential", box: "mapping=apdm,ports=sequential:1,churn=1",
		description: "the next port for every destination, while a household opens a connection a second",
		standsFor:   "the few home routers that map by destination (below 2 %)",
		source:      "Richter et al. 2016"},
	{name: "cgn-eim-block", box: "filtering=eif,ports=block:512,pool=paired",
		description: "one mapping for all destinations, open to everybody, from the subscriber's block of 512 ports",
		standsFor:   "a carrier's NAT that follows the RFCs",
		source:      "RFC 6888, RFC 7422"},
	{name: "cgn-block-512", box: "mapping=apdm,ports=block:512,pool=paired",
		description: "a random port of the subscriber's block of 512 for every destination",
		standsFor:   "a fixed-line carrier's NAT with port blocks (11 % map by destination)",
		source:      "Richter et al. 2016"},
	{name: "cellular-band-251", box: "mapping=connection,ports=band:251",
		description: "a random port of a band of 251 for every connection",
		standsFor:   "a mobile carrier whose NAT was measured",
		source:      "measurement of one carrier, see docs/lab.md"},
	{name: "cellular-sequential", box: "mapping=apdm,ports=sequential:1,churn=50",
		description: "the next port for every destination, while others open 50 connections a second",
		standsFor:   "mobile carriers (26 % of their NATs count)",
		source:      "Richter et al. 2016; Klinec and Matyas 2014"},
	{name: "azure", box: "mapping=apdm,ports=random:1024-65535",
		description: "a random port of 64,512 for every destination",
		standsFor:   "a cloud's outbound gateway",
		source:      "Azure NAT gateway: 64,512 ports per address, chosen at random"},
	{name: "dual-open-denied", box: "crossing=drop",
		description: "keeps ports, and drops the SYN of a simultaneous open",
		standsFor:   "firewalls without RFC 9293 section 3.5 (14 % refuse a crossing SYN)",
		source:      "Guha and Francis 2005; against RFC 5382 REQ-2"},
	{name: "seq-checked", box: "seq=window",
		description: "keeps ports, and drops segments that do not fit the connection's sequence numbers",
		standsFor:   "firewalls with TCP window tracking",
		source:      "van Rooij 2001, Real Stateful TCP Packet Filtering"},

	{name: "bridge-lab", kind: tutorial, box: "engine=netfilter,unsolicited=poison",
		description: "LANs 192.168.111.0/24 and 192.168.222.0/24, each with a client and an nftables masquerade router, and a host between them",
		standsFor:   "the virtual machines of a home-lab tutorial",
		source:      "a widely read tutorial; netfilter, this kernel"},
	{name: "same-nat", kind: sharedBox, box: "engine=netfilter",
		description: "both clients in one network behind one masquerade without hairpinning",
		standsFor:   "two machines in one home",
		source:      "netfilter, this kernel"},
}

// profile makes the profile. The table above is part of the program, so that a
// mistake in it is a panic, which the first test finds.
func (n namedText) profile() Profile {
	p := Profile{Name: n.name, Description: n.description, StandsFor: n.standsFor, Source: n.source, IPv4: n.kind != firewall6,
		IPv6: n.kind == hostAlone || n.kind == firewall6, Shared: n.kind == sharedBox, BridgeLab: n.kind == tutorial}
	if n.kind == hostAlone {
		return p
	}
	b, err := newBox(n.box)
	if err != nil {
		panic(n.name + ": " + err.Error())
	}
	b.Behavior.Firewall = n.kind == firewall4 || n.kind == firewall6
	p.Boxes = []Box{b}
	return p
}
