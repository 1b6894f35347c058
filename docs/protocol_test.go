package docs

import (
	"encoding/json"
	"go/token"
	"strings"
	"testing"
)

// TestProtocolPageHasTheWordsOfTheWire holds the page to every word in the
// source that another implementation must send.
func TestProtocolPageHasTheWordsOfTheWire(t *testing.T) {
	page := read(t, "protocol.md")
	for _, from := range []struct{ path, name string }{
		{"../cmd/internal/rendezvous/coordinator.go", "alpn"},
		{"../cmd/internal/punch/nominate.go", "alpn"},
		{"../cmd/internal/punch/nominate.go", "accepted"},
		{"../cmd/internal/punch/direct.go", "nonceMagic"},
		{"../cmd/internal/punch/udp_exchange.go", "datagramMagic"},
	} {
		word, ok := constants(t, from.path, token.STRING)[from.name]
		if !ok {
			t.Errorf("%s has no constant %s", from.path, from.name)
		}
		if !strings.Contains(page, strings.TrimSuffix(word, "\n")) {
			t.Errorf("protocol.md does not have %q", word)
		}
	}
	for _, kind := range typedConstants(t, "../cmd/internal/rendezvous", "ErrorKind") {
		if !strings.Contains(page, "`"+kind+"`") {
			t.Errorf("protocol.md does not have the error kind %q", kind)
		}
	}
}

func TestProtocolPageHasEveryFieldOfMessagesAndOffers(t *testing.T) {
	page := read(t, "protocol.md")
	fields := jsonFields(t, "../cmd/internal/rendezvous", nil)
	if len(fields) < 20 {
		t.Fatalf("found %d fields, want more", len(fields))
	}
	for field, where := range fields {
		if !strings.Contains(page, "`"+field+"`") && !strings.Contains(page, `"`+field+`"`) {
			t.Errorf("protocol.md does not have the field %s of %s", field, where)
		}
	}
}

// TestProtocolExamplesAreJSON decodes the examples: one message a line, and
// whole blocks that say json.
func TestProtocolExamplesAreJSON(t *testing.T) {
	n := 0
	for i, block := range strings.Split(read(t, "protocol.md"), "```") {
		body, isJSON := strings.CutPrefix(block, "json\n")
		if i%2 == 0 {
			continue
		}
		if isJSON {
			n++
			if !json.Valid([]byte(body)) {
				t.Errorf("an example is no JSON:\n%s", body)
			}
		}
		for line := range strings.Lines(block) {
			message, sent := strings.CutPrefix(line, "→ ")
			if !sent {
				message, sent = strings.CutPrefix(line, "← ")
			}
			if !sent {
				continue
			}
			n++
			var m map[string]json.RawMessage
			if err := json.Unmarshal([]byte(message), &m); err != nil || len(m) != 1 {
				t.Errorf("a message is no JSON object with one field (%v): %s", err, line)
			}
		}
	}
	if n < 5 {
		t.Errorf("found %d examples, want more", n)
	}
}
