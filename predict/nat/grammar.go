package nat

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A BadSetting is a key or value that no behaviour has.
type BadSetting struct {
	Key, Value string   // Value is empty when the key is unknown
	Valid      []string // what would have done; capitals stand for numbers and durations
}

func (b *BadSetting) Error() string {
	if b.Value == "" {
		return fmt.Sprintf("there is no key %q; want one of %s", b.Key, strings.Join(b.Valid, ", "))
	}
	return fmt.Sprintf("%q is no value of %s; want %s", b.Value, b.Key, strings.Join(b.Valid, ", "))
}

// A setting is one key of the profile grammar.
type setting struct {
	key   string
	forms []string // capitals stand for numbers and durations
	set   func(c *Config, word, argument string) error
}

// settings are all keys that describe what a NAT does, in the order of the
// documentation.
var settings = []setting{
	{"mapping", []string{"eim", "adm", "apdm", "connection"}, func(c *Config, w, _ string) error { return c.Mapping.UnmarshalText([]byte(w)) }},
	{"filtering", []string{"eif", "adf", "apdf"}, func(c *Config, w, _ string) error { return c.Filtering.UnmarshalText([]byte(w)) }},
	{"ports", []string{"preserve", "sequential:DELTA", "lowest", "random", "random:LO-HI", "band:W", "block:N", "parity"}, setPorts},
	{"pool", []string{"paired", "paired:Q", "arbitrary", "arbitrary:Q"}, setPool},
	{"unsolicited", []string{"drop", "rst", "icmp", "hold", "poison"}, func(c *Config, w, _ string) error { return c.Unsolicited.UnmarshalText([]byte(w)) }},
	{"crossing", []string{"accept", "drop", "rst"}, func(c *Config, w, _ string) error { return c.Crossing.UnmarshalText([]byte(w)) }},
	{"rst", []string{"kill", "keep", "swallow", "drop-next"}, func(c *Config, w, _ string) error { return c.Resets.UnmarshalText([]byte(w)) }},
	{"icmp", []string{"ignore", "kill"}, func(c *Config, w, _ string) error { return c.Errors.UnmarshalText([]byte(w)) }},
	{"seq", []string{"none", "window", "rewrite"}, func(c *Config, w, _ string) error { return c.Sequence.UnmarshalText([]byte(w)) }},
	{"hairpin", []string{"no", "yes"}, func(c *Config, w, _ string) error { c.Hairpin = w == "yes"; return nil }},
	{"overload", []string{"no", "yes"}, func(c *Config, w, _ string) error { c.Overload = w == "yes"; return nil }},
	{"syn-rate", []string{"N"}, func(c *Config, _, a string) error { return optional(true, a, 0, 1<<30, &c.SYNRate) }},
	{"quota", []string{"N"}, func(c *Config, _, a string) error { return optional(true, a, 0, 1<<30, &c.Quota) }},
	{"churn", []string{"LAMBDA", "LAMBDA:BATCH"}, setChurn},
	{"timeout-syn", []string{"D"}, func(c *Config, _, a string) error { return duration(a, &c.Transitory) }},
	{"timeout-established", []string{"D"}, func(c *Config, _, a string) error { return duration(a, &c.Established) }},
	{"ttl", []string{"keep", "rewrite:N"}, func(c *Config, w, a string) error {
		c.RewriteTTL = 0
		return optional(w == "rewrite", a, 1, 255, &c.RewriteTTL)
	}},
	{"options", []string{"keep", "strip"}, func(c *Config, w, _ string) error { c.StripOptions = w == "strip"; return nil }},
	{"mss", []string{"keep", "clamp:N"}, func(c *Config, w, a string) error {
		c.ClampMSS = 0
		return optional(w == "clamp", a, 64, 65535, &c.ClampMSS)
	}},
}

// Keys lists the keys that Set knows, in the order of the documentation.
func Keys() []string {
	var keys []string
	for _, s := range settings {
		keys = append(keys, s.key)
	}
	return keys
}

// Forms lists the values that a key takes, nil if there is no such key.
// Capitals stand for numbers (DELTA, LO-HI, W, N, Q, LAMBDA, BATCH) and for a
// duration (D).
func Forms(key string) []string {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return nil
	}
	return slices.Clone(settings[i].forms)
}

// Set changes the behaviour by one key and value of the profile grammar, such
// as "ports" and "sequential:-1". What is wrong gives *[BadSetting].
func (c *Config) Set(key, value string) error {
	i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
	if i < 0 {
		return &BadSetting{Key: key, Valid: Keys()}
	}
	s, next := settings[i], *c
	word, argument, ok := s.match(value)
	if !ok || s.set(&next, word, argument) != nil {
		return &BadSetting{Key: key, Value: value, Valid: s.forms}
	}
	*c = next
	return nil
}

// match finds the form that a value has: a word, a word and an argument, or an
// argument alone.
func (s setting) match(value string) (word, argument string, ok bool) {
	word, argument, more := strings.Cut(value, ":")
	for _, form := range s.forms {
		name, _, takes := strings.Cut(form, ":")
		switch {
		case name == strings.ToUpper(name): // nothing but an argument
			return "", value, value != ""
		case name == word && takes == more:
			return word, argument, true
		}
	}
	return "", "", false
}

func setPorts(c *Config, word, argument string) error {
	c.Delta, c.Low, c.High, c.Width = 0, 0, 0, 0
	switch {
	case word == "sequential":
		if err := number(argument, &c.Delta); err != nil || c.Delta == 0 {
			return fmt.Errorf("step %q", argument)
		}
	case word == "random" && argument != "":
		low, high, _ := strings.Cut(argument, "-")
		if err := optional(true, low, 1, 65535, &c.Low); err != nil {
			return err
		}
		if err := optional(true, high, int(c.Low), 65535, &c.High); err != nil {
			return err
		}
	case word == "band", word == "block":
		if err := optional(true, argument, 1, 64512, &c.Width); err != nil {
			return err
		}
	}
	return c.Ports.UnmarshalText([]byte(word))
}

func setPool(c *Config, word, argument string) error {
	c.PoolSize = 0
	if err := optional(argument != "", argument, 1, 1<<16, &c.PoolSize); err != nil {
		return err
	}
	return c.Pooling.UnmarshalText([]byte(word))
}

func setChurn(c *Config, _, argument string) (err error) {
	rate, batch, more := strings.Cut(argument, ":")
	c.ChurnBatch = 0
	if more {
		if c.ChurnBatch, err = strconv.ParseFloat(batch, 64); err != nil || !(c.ChurnBatch >= 1) {
			return fmt.Errorf("batch %q", batch)
		}
	}
	if c.Churn, err = strconv.ParseFloat(rate, 64); err != nil || !(c.Churn >= 0) {
		return fmt.Errorf("rate %q", rate)
	}
	return nil
}

// number reads a number of either sign.
func number(text string, n *int) (err error) {
	*n, err = strconv.Atoi(text)
	return err
}

func duration(text string, d *time.Duration) (err error) {
	if *d, err = time.ParseDuration(text); err == nil && *d <= 0 {
		err = fmt.Errorf("duration %q", text)
	}
	return err
}

// optional reads a number within bounds, if it is wanted.
func optional[N ~int | ~uint8 | ~uint16](wanted bool, text string, low, high int, n *N) error {
	if !wanted {
		return nil
	}
	v, err := strconv.Atoi(text)
	if err != nil || v < low || v > high {
		return fmt.Errorf("number %q", text)
	}
	*n = N(v)
	return nil
}
