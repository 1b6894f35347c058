package rawsock

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// TCPOptions are the options of a TCP header as they are on the wire (RFC 9293
// section 3.2). The methods append one each, in the order of the calls:
//
//	TCPOptions(nil).MSS(1460).SACKPermitted().Timestamps(1, 0).NOP().WindowScale(7)
//
// What they do not know is appended as bytes, also what is no option at all.
type TCPOptions []byte

// The kinds of options of the IANA registry "TCP Option Kind Numbers".
const (
	optionEnd           = 0
	optionNOP           = 1
	optionMSS           = 2
	optionWindowScale   = 3
	optionSACKPermitted = 4
	optionTimestamps    = 8
)

// MSS appends the maximum segment size.
func (o TCPOptions) MSS(n uint16) TCPOptions {
	return binary.BigEndian.AppendUint16(append(o, optionMSS, 4), n)
}

// WindowScale appends the shift of RFC 7323 section 2.
func (o TCPOptions) WindowScale(shift uint8) TCPOptions {
	return append(o, optionWindowScale, 3, shift)
}

// SACKPermitted appends the option of RFC 2018 section 2.
func (o TCPOptions) SACKPermitted() TCPOptions { return append(o, optionSACKPermitted, 2) }

// Timestamps appends the option of RFC 7323 section 3.
func (o TCPOptions) Timestamps(value, echo uint32) TCPOptions {
	o = binary.BigEndian.AppendUint32(append(o, optionTimestamps, 10), value)
	return binary.BigEndian.AppendUint32(o, echo)
}

// NOP appends one byte that means nothing.
func (o TCPOptions) NOP() TCPOptions { return append(o, optionNOP) }

// padded is the length in whole words of 4 bytes.
func (o TCPOptions) padded() int { return (len(o) + 3) &^ 3 }

// next splits off the first option; kind and data of what is cut short are not
// valid. The list ends with optionEnd.
func (o TCPOptions) next() (kind byte, data []byte, rest TCPOptions, ok bool) {
	if len(o) == 0 {
		return 0, nil, nil, false
	}
	if o[0] == optionEnd || o[0] == optionNOP {
		return o[0], nil, o[1:], true
	}
	if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
		return 0, nil, nil, false
	}
	return o[0], o[2:o[1]], o[o[1]:], true
}

// find returns the data of the first option of a kind, if it has that length.
func (o TCPOptions) find(kind byte, length int) ([]byte, bool) {
	for {
		k, data, rest, ok := o.next()
		if !ok || k == optionEnd {
			return nil, false
		}
		if k == kind && len(data) == length {
			return data, true
		}
		o = rest
	}
}

// String lists the options as UnmarshalText reads them; from the first end of
// the list or malformed option on, all is raw.
func (o TCPOptions) String() string {
	var words []string
	for len(o) > 0 {
		kind, data, rest, ok := o.next()
		if !ok || kind == optionEnd {
			words = append(words, "raw="+hex.EncodeToString(o))
			break
		}
		words = append(words, describeOption(kind, data, o[:len(o)-len(rest)]))
		o = rest
	}
	return strings.Join(words, ",")
}

func describeOption(kind byte, data, whole []byte) string {
	switch {
	case kind == optionNOP:
		return "nop"
	case kind == optionMSS && len(data) == 2:
		return fmt.Sprintf("mss=%d", binary.BigEndian.Uint16(data))
	case kind == optionWindowScale && len(data) == 1:
		return fmt.Sprintf("wscale=%d", data[0])
	case kind == optionSACKPermitted && len(data) == 0:
		return "sack"
	case kind == optionTimestamps && len(data) == 8:
		return fmt.Sprintf("ts=%d:%d", binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:]))
	}
	return "raw=" + hex.EncodeToString(whole)
}

// MarshalText is String.
func (o TCPOptions) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads a list such as "mss=1460,sack,ts=1:0,nop,wscale=7,raw=fd02".
// The echo of a time stamp may be left out, and is then 0. Raw bytes are
// hexadecimal.
func (o *TCPOptions) UnmarshalText(text []byte) error {
	var list TCPOptions
	if len(text) == 0 {
		*o = nil
		return nil
	}
	for word := range strings.SplitSeq(string(text), ",") {
		var err error
		if list, err = list.word(word); err != nil {
			return fmt.Errorf("TCP option %q: %w", word, err)
		}
	}
	if len(list) > maxTCPOptions {
		return fmt.Errorf("%d bytes of TCP options: at most %d", len(list), maxTCPOptions)
	}
	*o = list
	return nil
}

// word appends the option that a word of the list names.
func (o TCPOptions) word(word string) (TCPOptions, error) {
	name, value, valued := strings.Cut(word, "=")
	switch name {
	case "nop", "sack":
		if valued {
			return o, errors.New("it takes no value")
		}
		if name == "nop" {
			return o.NOP(), nil
		}
		return o.SACKPermitted(), nil
	case "mss":
		n, err := optionNumber(value, 16)
		return o.MSS(uint16(n)), err
	case "wscale":
		n, err := optionNumber(value, 8)
		return o.WindowScale(uint8(n)), err
	case "ts":
		return o.timestampsWord(value)
	case "raw":
		raw, err := hex.DecodeString(value)
		if err != nil {
			return o, errors.New("want two hexadecimal digits for each byte")
		}
		return append(o, raw...), nil
	}
	return o, errors.New("there are mss=N, sack, ts=N[:N], nop, wscale=N and raw=HEX")
}

func (o TCPOptions) timestampsWord(word string) (TCPOptions, error) {
	value, echo, both := strings.Cut(word, ":")
	v, err := optionNumber(value, 32)
	if err != nil || !both {
		return o.Timestamps(uint32(v), 0), err
	}
	e, err := optionNumber(echo, 32)
	return o.Timestamps(uint32(v), uint32(e)), err
}

// optionNumber reads a number of so many bits.
func optionNumber(text string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("want a number up to %d", uint64(1)<<bits-1)
	}
	return n, nil
}
