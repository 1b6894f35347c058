package rendezvous

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestFramesAreBounded(t *testing.T) {
	for name, raw := range map[string]string{
		"no length":     "\x00\x00\x00\x00",
		"a huge length": "\xff\xff\xff\xff{}",
		"one too many":  "\x00\x00\x20\x01" + strings.Repeat(" ", MaxFrame+1),
		"no JSON":       "\x00\x00\x00\x02no",
	} {
		if _, err := readFrame(strings.NewReader(raw)); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: got %v, want ErrFrame", name, err)
		}
	}
	if err := writeFrame(&bytes.Buffer{}, message{Waiting: &waiting{strings.Repeat("x", MaxFrame)}}); !errors.Is(err, ErrFrame) {
		t.Errorf("too large to send: got %v, want ErrFrame", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	var whole bytes.Buffer
	writeFrame(&whole, message{Register: &register{Name: "a"}})
	f.Add(whole.Bytes())
	f.Add([]byte("\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := readFrame(bytes.NewReader(raw))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, m); err != nil && !errors.Is(err, ErrFrame) {
			t.Fatalf("a message that was read cannot be written: %v", err)
		}
	})
}

func FuzzOpenOffer(f *testing.F) {
	id, err := NewIdentity()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"version":1,"candidates":[{"kind":"host","addr":"192.0.2.1:1"}],"sources":[{"name":"n","bound_ns":5}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a := forge(id, payload)
		if o, err := a.Open(id.ID(), "b", "s"); err == nil {
			Agree(Party{"a", o}, Party{"b", o}, terms)
		}
	})
}

func TestACoordinatorsWordsCannotHarmATerminal(t *testing.T) {
	m := message{Waiting: &waiting{"\x1b[2Jgone\n"}, Error: &Error{KindBusy, strings.Repeat("é", 600) + "\a"}}
	m.tame()
	if m.Waiting.Reason != "\ufffd[2Jgone\ufffd" || len(m.Error.Message) > maxSentence+3 || strings.ContainsAny(m.Error.Message, "\a\x1b") {
		t.Errorf("got %q and %q", m.Waiting.Reason, m.Error.Message)
	}
}
