package lab

import (
	"encoding/json"
	"testing"
)

func TestDatagramsMeetWhereTheyMust(t *testing.T) {
	for _, c := range []struct{ a, b, delay string }{
		{"linux", "openwrt", "20ms"},
		{"cisco-asa", "dual-open-denied", "20ms"}, // a crossing is nothing to UDP
		{"symmetric", "full-cone", "20ms"},        // the port is learnt from what arrives
		{"firewall6", "public", "20ms"},
		{"same-nat", "same-nat", "20ms"},
		{"openwrt", "openwrt", "0"}, // an ICMP error ends no UDP mapping
	} {
		t.Run(c.a+" "+c.b+" "+c.delay, func(t *testing.T) {
			inParallel(t, c.delay)
			d := trials(t, "--transport", "udp", "--a", c.a, "--b", c.b, "--delay", c.delay)
			if d.Summary.Valid == 0 {
				t.Skipf("this machine was too slow for every one of %d trials", d.Summary.Trials)
			}
			if d.Transport != UDP || d.Summary.Established != d.Summary.Valid {
				t.Errorf("over %s %d of %d connected, causes %v", d.Transport, d.Summary.Established, d.Summary.Valid, d.Summary.Causes)
			}
			for _, r := range d.Trials {
				if r.Verdict != nil || r.Crossing != nil {
					t.Errorf("got verdict %v, crossing %v, want neither", word(r.Verdict), r.Crossing)
				}
				checkDatagramReport(t, r.MeetA)
				checkDatagramReport(t, r.MeetB)
			}
		})
	}
}

func checkDatagramReport(t *testing.T, document []byte) {
	t.Helper()
	var r struct {
		Transport   string          `json:"transport"`
		Called      int             `json:"syns_called"`
		Sent        int             `json:"syns_on_wire"`
		Probability json.RawMessage `json:"predicted_probability"`
	}
	if err := json.Unmarshal(document, &r); err != nil {
		t.Fatal(err)
	}
	if r.Transport != UDP || r.Called != 0 || r.Sent < 3 || r.Sent > defaultBudget || string(r.Probability) != "null" {
		t.Errorf("got %+v, probability %s, want some datagrams, no connect() and no probability of SYNs", r, r.Probability)
	}
}

func TestDatagramsMissWherePortsMustBeGuessed(t *testing.T) {
	for _, c := range []struct{ a, b string }{{"symmetric", "symmetric"}, {"linux-random", "linux"}} {
		t.Run(c.a+" "+c.b, func(t *testing.T) {
			t.Parallel()
			d := trials(t, "--transport", "udp", "--a", c.a, "--b", c.b, "--timeout", "1s")
			if s := d.Summary; s.Established != 0 || s.Causes[causeMispredicted] != s.Valid || s.Diagnosed != s.Valid || s.Valid > 0 && *s.DiagnosisCorrect != 1 {
				t.Errorf("got %+v, want failures because of %s", s, causeMispredicted)
			}
		})
	}
}
