package nat

import (
	"encoding"
	"encoding/json"
	"testing"
)

type word interface {
	comparable
	encoding.TextMarshaler
	String() string
}

// roundTrip writes every value of an enumeration and reads it back.
func roundTrip[E word, P interface {
	*E
	encoding.TextUnmarshaler
}](t *testing.T, words vocabulary, value func(uint8) E) {
	t.Helper()
	for i := range words {
		want := value(uint8(i))
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		for _, spelling := range append(words[i], string(text)) {
			var got E
			if err := P(&got).UnmarshalText([]byte(spelling)); err != nil || got != want {
				t.Errorf("%q: got %v, %v, want %v", spelling, got, err, want)
			}
		}
		doc, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 && string(doc) != "null" {
			t.Errorf("unknown: got JSON %s, want null", doc)
		}
		var got E
		if err := json.Unmarshal(doc, &got); err != nil || got != want {
			t.Errorf("JSON %s: got %v, %v, want %v", doc, got, err, want)
		}
	}
	var e E
	if err := P(&e).UnmarshalText([]byte("nonsense")); err == nil {
		t.Error("nonsense was accepted")
	}
	if _, err := value(200).MarshalText(); err == nil {
		t.Error("an invalid value was written")
	}
}

func TestWordsRoundTripAndZeroIsUnknown(t *testing.T) {
	roundTrip[Mapping](t, mappings, func(v uint8) Mapping { return Mapping(v) })
	roundTrip[Filtering](t, filterings, func(v uint8) Filtering { return Filtering(v) })
	roundTrip[PortAssignment](t, assignments, func(v uint8) PortAssignment { return PortAssignment(v) })
	roundTrip[Unsolicited](t, unsolicited, func(v uint8) Unsolicited { return Unsolicited(v) })
	roundTrip[Pooling](t, pooling, func(v uint8) Pooling { return Pooling(v) })
	roundTrip[Crossing](t, crossings, func(v uint8) Crossing { return Crossing(v) })
	roundTrip[ResetHandling](t, resets, func(v uint8) ResetHandling { return ResetHandling(v) })
	roundTrip[ErrorHandling](t, errorHandlings, func(v uint8) ErrorHandling { return ErrorHandling(v) })
	roundTrip[Sequence](t, sequences, func(v uint8) Sequence { return Sequence(v) })
	roundTrip[Protocol](t, protocols, func(v uint8) Protocol { return Protocol(v) })
	roundTrip[Kind](t, kinds, func(v uint8) Kind { return Kind(v) })
	roundTrip[Verdict](t, verdicts, func(v uint8) Verdict { return Verdict(v) })
}

func TestEveryKindHasItsWord(t *testing.T) {
	if got, want := len(kinds), int(Malformed)+1; got != want {
		t.Errorf("%d words for %d kinds", got, want)
	}
}
