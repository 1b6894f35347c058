package lab

import (
	"fmt"
	"slices"
	"strings"

	"tcppunch/predict/nat"
)

// netfilterDoes lists, by key, what the kernel's NAT can be programmed to do.
// Where there is one value only, netfilter cannot do otherwise. A trailing
// colon stands for any argument; keys that are absent are not settable.
var netfilterDoes = map[string][]string{
	"engine":              {"netfilter"},
	"mapping":             {"eim", "connection"},
	"filtering":           {"apdf"},
	"ports":               {"preserve", "random", "random:", "sequential:1"},
	"pool":                {"paired"},
	"unsolicited":         {"drop", "rst", "icmp", "poison"},
	"crossing":            {"accept"},
	"rst":                 {"kill"},
	"icmp":                {"ignore"},
	"seq":                 {"window"}, // nf_conntrack_proto_tcp.c, tcp_in_window
	"hairpin":             {"no"},
	"overload":            {"yes"}, // nf_nat_core.c, nf_nat_used_tuple compares whole tuples
	"timeout-syn":         {""},
	"timeout-established": {""},
	"ttl":                 {"keep", "rewrite:"},
	"options":             {"keep"},
	"mss":                 {"keep"},
	"udp":                 {"keep", "drop"},
}

// implied are the settings that every netfilter box has.
var implied = map[string]string{"seq": "window", "overload": "yes"}

// NotNetfilter is a behaviour that the kernel's NAT cannot be given.
type NotNetfilter struct{ What string }

func (n *NotNetfilter) Error() string { return "netfilter cannot do " + n.What }

// netfilterCan checks a box that is to be the kernel's.
func (b Box) netfilterCan() error {
	for _, key := range keys() {
		value, set := b.Settings[key]
		if set && !allowed(netfilterDoes[key], value) {
			return &NotNetfilter{key + "=" + value}
		}
	}
	each := b.Behavior.Mapping == nat.PerConnection
	if drawn := b.Behavior.Ports != nat.Preserving; each != drawn {
		return &NotNetfilter{fmt.Sprintf("mapping=%s with ports=%s", b.Settings["mapping"], b.Settings["ports"])}
	}
	return nil
}

func allowed(list []string, value string) bool {
	word, _, argument := strings.Cut(value, ":")
	return slices.ContainsFunc(list, func(v string) bool {
		return v == value || v == "" || argument && v == word+":"
	})
}
