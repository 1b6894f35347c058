package lab

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tcppunch/predict/nat"
)

// Profile is one side of a lab: a client and what stands before it.
type Profile struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	StandsFor   string `json:"stands_for"`
	Source      string `json:"source"`     // where its behaviour is known from
	Boxes       []Box  `json:"boxes"`      // from the client outwards; none: the client has a public address
	IPv4        bool   `json:"ipv4"`       // the client has an IPv4 address
	IPv6        bool   `json:"ipv6"`       // the client has an IPv6 address
	Shared      bool   `json:"shared"`     // both clients stand behind these boxes
	BridgeLab   bool   `json:"bridge_lab"` // the networks of a home-lab tutorial
}

// Box is one filter or translator.
type Box struct {
	Settings map[string]string // as the grammar spells them, defaults included; limits only where they are set
	Engine   Engine
	Behavior nat.Config // the same as values; External is given when the network is planned
	DropUDP  bool       // no UDP leaves
}

// defaults are what a box does that is told nothing else.
var defaults = map[string]string{
	"engine": "emulated", "mapping": "eim", "filtering": "apdf", "ports": "preserve", "pool": "paired",
	"unsolicited": "drop", "crossing": "accept", "rst": "kill", "icmp": "ignore", "seq": "none",
	"hairpin": "no", "overload": "no", "ttl": "keep", "options": "keep", "mss": "keep", "udp": "keep",
}

// newBox makes a box of what differs from the defaults.
func newBox(text string) (Box, error) {
	b := Box{Settings: map[string]string{}}
	for key, value := range defaults {
		if err := b.set(key, value); err != nil {
			return b, err
		}
	}
	if text == "" {
		return b, nil
	}
	return b, b.setAll(text)
}

// Engine is what carries out a box's behaviour.
type Engine int

// The engines.
const (
	EngineUnknown Engine = iota
	Emulated             // package predict/nat, on the way into the core
	Netfilter            // the kernel's own NAT
)

var engineWords = words{"unknown", "emulated", "netfilter"}

func (e Engine) String() string               { return engineWords.text(int(e)) }
func (e Engine) MarshalText() ([]byte, error) { return []byte(e.String()), nil }
func (e *Engine) UnmarshalText(b []byte) error {
	i, err := engineWords.value(b)
	*e = Engine(i)
	return err
}

// words are the text forms of an enumeration, by value.
type words []string

func (w words) text(i int) string {
	if i < 0 || i >= len(w) {
		return w[0]
	}
	return w[i]
}

func (w words) value(s []byte) (int, error) {
	i := slices.Index(w, string(s))
	if i < 0 {
		return 0, fmt.Errorf("%q is none of %s", s, strings.Join(w, ", "))
	}
	return i, nil
}

// Profiles are all named profiles, in the order in which they are shown.
func Profiles() []Profile {
	var list []Profile
	for _, n := range named {
		list = append(list, n.profile())
	}
	return list
}

// UnknownWord is a word of a profile that the lab does not know.
type UnknownWord struct {
	Word  string
	What  string   // what the word should have been: "profile", "key", "value of ports"
	Valid []string // the words that would have done
}

func (u *UnknownWord) Error() string { return fmt.Sprintf("there is no %s %q", u.What, u.Word) }

// ParseProfile reads a name, key=value,…, a name and what differs from it, or
// several of these joined by + from the client outwards. Wrong words give
// *UnknownWord.
func ParseProfile(text string) (Profile, error) {
	var chain Profile
	for i, part := range strings.Split(text, "+") {
		p, err := parseLink(part)
		if err != nil {
			return Profile{}, err
		}
		if i == 0 {
			chain = p
			continue
		}
		if chain, err = chain.behind(p); err != nil {
			return Profile{}, fmt.Errorf("%s: %w", text, err)
		}
	}
	chain.Name = text
	return chain, nil
}

// behind puts another side's box before the boxes of this one.
func (p Profile) behind(outer Profile) (Profile, error) {
	for _, b := range slices.Concat(p.Boxes, outer.Boxes) {
		if b.Behavior.Firewall {
			return p, errors.New("only translators can stand behind each other")
		}
	}
	if len(p.Boxes) == 0 || len(outer.Boxes) == 0 {
		return p, errors.New("a chain needs a translator on either side of each +")
	}
	p.Boxes = slices.Concat(p.Boxes, outer.Boxes)
	if len(p.Boxes) > longestChain {
		return p, fmt.Errorf("a chain has at most %d boxes", longestChain)
	}
	p.Description += "; behind that: " + outer.Description
	p.StandsFor += ", behind " + outer.StandsFor
	p.Source += "; " + outer.Source
	return p, nil
}

// parseLink reads one link of a chain.
func parseLink(text string) (Profile, error) {
	first, rest, more := strings.Cut(text, ",")
	spelled := strings.Contains(first, "=")
	if spelled {
		box, err := newBox(text)
		return Profile{Name: text, Description: "a translator as spelled out", StandsFor: "what is to be studied", Source: "none",
			IPv4: true, Boxes: []Box{box}}, err
	}
	p, err := namedProfile(first)
	if err != nil || !more {
		return p, err
	}
	if len(p.Boxes) == 0 {
		return Profile{}, fmt.Errorf("%s has no box whose behaviour could be chosen", first)
	}
	p.Name = text
	p.Description += "; with " + rest
	return p, p.Boxes[0].setAll(rest)
}

// setAll changes settings, the engine first, since it brings some with it.
func (b *Box) setAll(text string) error {
	parts := strings.Split(text, ",")
	slices.SortStableFunc(parts, func(x, y string) int {
		return cmp.Compare(btoi(strings.HasPrefix(y, "engine=")), btoi(strings.HasPrefix(x, "engine=")))
	})
	for _, part := range parts {
		key, value, _ := strings.Cut(part, "=")
		if err := b.set(key, value); err != nil {
			return err
		}
	}
	if b.Behavior.PoolSize > largestPool {
		return fmt.Errorf("a pool has at most %d addresses here", largestPool)
	}
	if b.Engine == Netfilter {
		return b.netfilterCan()
	}
	return nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// set changes one setting.
func (b *Box) set(key, value string) error {
	if err := b.apply(key, value); err != nil {
		return err
	}
	b.Settings[key] = value
	if key == "engine" && b.Engine == Netfilter {
		for k, v := range implied {
			if err := b.set(k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Box) apply(key, value string) error {
	switch key {
	case "engine":
		return choose(key, value, func(w string) { b.Engine.UnmarshalText([]byte(w)) }, "emulated", "netfilter")
	case "udp":
		return choose(key, value, func(w string) { b.DropUDP = w == "drop" }, "keep", "drop")
	}
	err := b.Behavior.Set(key, value)
	if bad, ok := errors.AsType[*nat.BadSetting](err); ok {
		if nat.Forms(key) == nil {
			return &UnknownWord{Word: key, What: "key", Valid: keys()}
		}
		return &UnknownWord{Word: value, What: "value of " + key, Valid: bad.Valid}
	}
	return err
}

func choose(key, value string, take func(string), valid ...string) error {
	if !slices.Contains(valid, value) {
		return &UnknownWord{Word: value, What: "value of " + key, Valid: valid}
	}
	take(value)
	return nil
}

// keys are all keys of the grammar.
func keys() []string { return append([]string{"engine"}, append(nat.Keys(), "udp")...) }

func namedProfile(name string) (Profile, error) {
	var names []string
	for _, n := range named {
		if n.name == name {
			return n.profile(), nil
		}
		names = append(names, n.name)
	}
	return Profile{}, &UnknownWord{Word: name, What: "profile", Valid: names}
}

// MarshalJSON writes a box as its settings.
func (b Box) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Kind     string            `json:"kind"`
		Settings map[string]string `json:"settings"`
	}{b.kind(), b.Settings})
}

func (b Box) kind() string {
	if b.Behavior.Firewall {
		return "firewall"
	}
	return "nat"
}

// spelling is the box as the grammar writes it.
func (b Box) spelling() string {
	var parts []string
	for _, key := range keys() {
		if v, ok := b.Settings[key]; ok {
			parts = append(parts, key+"="+v)
		}
	}
	return strings.Join(parts, ",")
}
