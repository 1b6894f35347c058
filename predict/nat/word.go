package nat

import (
	"encoding/json"
	"fmt"
	"strings"
)

// A vocabulary holds the words of one enumeration, indexed by value. The
// first spelling is written; the others are accepted too (profiles use the
// abbreviations). Value 0 is always "unknown".
type vocabulary [][]string

func (v vocabulary) text(value uint8) string {
	if int(value) < len(v) {
		return v[value][0]
	}
	return fmt.Sprintf("invalid(%d)", value)
}

func (v vocabulary) marshal(value uint8) ([]byte, error) {
	if int(value) >= len(v) {
		return nil, fmt.Errorf("marshal value %d: not one of %s", value, v)
	}
	return []byte(v[value][0]), nil
}

// marshalJSON writes unknown as null: a document must not look as if
// something had been measured.
func (v vocabulary) marshalJSON(value uint8) ([]byte, error) {
	if value == 0 {
		return []byte("null"), nil
	}
	word, err := v.marshal(value)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(word))
}

func (v vocabulary) parse(word string) (uint8, error) {
	for value, spellings := range v {
		for _, s := range spellings {
			if s == word {
				return uint8(value), nil
			}
		}
	}
	return 0, fmt.Errorf("%q is not one of %s", word, v)
}

// String lists the words for error messages.
func (v vocabulary) String() string {
	words := make([]string, len(v))
	for i, spellings := range v {
		words[i] = spellings[0]
	}
	return strings.Join(words, ", ")
}

func unmarshal[E ~uint8](e *E, words vocabulary, b []byte) error {
	value, err := words.parse(string(b))
	if err == nil {
		*e = E(value)
	}
	return err
}
