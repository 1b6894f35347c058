package lab

import (
	"testing"
	"time"
)

func TestTheoryOfDatagrams(t *testing.T) {
	terms := Terms{Delay: 20 * time.Millisecond, Spread: launchSpread, Budget: 100, Datagrams: true}
	wires := terms
	wires.Delay = 0
	for _, c := range []struct {
		a, b  string
		terms Terms
		least float64
		most  float64
	}{
		{"linux", "openwrt", terms, 1, 1},
		{"cisco-asa", "dual-open-denied", terms, 1, 1},
		{"symmetric", "full-cone", terms, 1, 1},
		{"symmetric", "address-restricted", terms, 1, 1},
		{"symmetric", "public", terms, 1, 1},
		{"symmetric", "port-restricted", terms, 0, 0.01},
		{"symmetric", "symmetric", terms, 0, 0.01},
		{"firewall6", "linux", terms, 0, 0},
		{"same-nat", "linux", terms, 1, 1},
		{"openwrt", "openwrt", wires, 1, 1},
		{"linux-accept", "linux", wires, 0.49, 0.51},
		{"linux-accept", "linux", terms, 1, 1},
	} {
		got := Expect(profile(t, c.a), profile(t, c.b), c.terms)
		if got.Probability < c.least || got.Probability > c.most || got.Because == "" {
			t.Errorf("%s × %s at %v: got %+v, want %v to %v", c.a, c.b, c.terms.Delay, got, c.least, c.most)
		}
		if back := Expect(profile(t, c.b), profile(t, c.a), c.terms); back != got {
			t.Errorf("%s × %s: got %+v, the other way round %+v", c.a, c.b, got, back)
		}
	}
}

func TestComparisonCountsEveryPairOnce(t *testing.T) {
	list := Profiles()
	var tcp, udp Matrix
	for i, a := range list {
		for _, b := range list[i:] {
			cell := MatrixCell{A: a.Name, B: b.Name, Summary: Summary{Valid: 3, Established: 1}}
			tcp.Cells = append(tcp.Cells, cell)
			cell.Summary.Established = 2
			udp.Cells = append(udp.Cells, cell)
		}
	}
	c := Compare(list, tcp, udp)
	all, parts := c.Classes[len(c.Classes)-1], 0
	for _, k := range c.Classes[:len(c.Classes)-1] {
		parts += k.Pairs
		if k.TCP.Established != k.Pairs || k.UDP.Established != 2*k.Pairs || k.UDP.Valid != 3*k.Pairs {
			t.Errorf("%s: got %+v, want a third over TCP and two over UDP", k.Class, k)
		}
	}
	if all.Pairs != len(tcp.Cells) || parts != all.Pairs || len(c.Classes) != len(classes)+1 {
		t.Errorf("got %d pairs in all, %d in %d classes, want %d in %d", all.Pairs, parts, len(c.Classes)-1, len(tcp.Cells), len(classes))
	}
}
