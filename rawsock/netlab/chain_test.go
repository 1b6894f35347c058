package netlab

import (
	"slices"
	"testing"
	"time"
)

// scripted answers packets by what they say: each byte of a packet is an order
// to the box that gets it first, the rest goes on.
type scripted struct {
	name    byte
	scratch []byte // reused, as the interface allows
	out     []Emission
	seen    []string
	due     time.Time
	held    []byte
}

func (s *scripted) Next() time.Time { return s.due }

func (s *scripted) Process(p []byte, d Direction, now time.Time) []Emission {
	s.scratch, s.out = s.scratch[:0], s.out[:0]
	if p == nil {
		s.due = time.Time{}
		return []Emission{{Outbound, s.held}}
	}
	s.seen = append(s.seen, string(s.name)+map[Direction]string{Outbound: ">", Inbound: "<"}[d]+string(p))
	order, rest := byte('.'), []byte(nil)
	if len(p) > 0 {
		order, rest = p[0], p[1:]
	}
	switch order {
	case '+': // on
		s.emit(d, rest)
	case '-': // back
		s.emit(Outbound+Inbound-d, rest)
	case '2': // on and back
		s.emit(d, rest)
		s.emit(Outbound+Inbound-d, rest)
	case '*': // two on
		s.emit(d, rest)
		s.emit(d, slices.Concat(rest, []byte("'")))
	case '@': // around for ever
		s.emit(Outbound+Inbound-d, p)
	case '%': // around for ever, and more and more
		s.emit(Outbound+Inbound-d, p)
		s.emit(d, p)
	}
	clear(p) // what is given may be changed
	return s.out
}

func (s *scripted) emit(d Direction, p []byte) {
	start := len(s.scratch)
	s.scratch = append(s.scratch, p...)
	s.out = append(s.out, Emission{d, s.scratch[start:]})
}

func spell(emissions []Emission) (all []string) {
	for _, m := range emissions {
		all = append(all, m.Direction.String()+" "+string(m.Packet))
	}
	return all
}

func TestAChainPassesPacketsFromBoxToBox(t *testing.T) {
	for _, x := range []struct {
		name, packet string
		d            Direction
		want         []string
	}{
		{"out", "+++x", Outbound, []string{"outbound x"}},
		{"in", "+++x", Inbound, []string{"inbound x"}},
		{"dropped by the second", "+.", Outbound, nil},
		{"answered by the first", "-x", Outbound, []string{"inbound x"}},
		{"answered by the last", "++-++x", Outbound, []string{"inbound x"}},
		{"hairpin of the last, answered by the first", "++-+-++x", Outbound, []string{"outbound x"}},
		{"answered by the first from outside", "++-++x", Inbound, []string{"outbound x"}},
		{"answered from outside by the last", "-x", Inbound, []string{"outbound x"}},
		{"on and back", "+2+x", Outbound, []string{"outbound x", "inbound x"}},
		{"two of one", "+*+x", Outbound, []string{"outbound x", "outbound x'"}},
	} {
		c := Chain(&scripted{name: 'a'}, &scripted{name: 'b'}, &scripted{name: 'c'})
		if got := spell(c.Process([]byte(x.packet), x.d, time.Time{})); !slices.Equal(got, x.want) {
			t.Errorf("%s: %s of %q: got %q, want %q", x.name, x.d, x.packet, got, x.want)
		}
	}
}

func TestAHairpinCrossesTheInnerBoxesAgain(t *testing.T) {
	a, b, c := &scripted{name: 'a'}, &scripted{name: 'b'}, &scripted{name: 'c'}
	Chain(a, b, c).Process([]byte("+-+x"), Outbound, time.Time{})
	if got, want := slices.Concat(a.seen, b.seen, c.seen), []string{"a>+-+x", "a<+x", "b>-+x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAChainEndsLoops(t *testing.T) {
	for _, packet := range []string{"@", "%"} {
		c := Chain(&scripted{name: 'a'}, &scripted{name: 'b'}).(*chain)
		done := 0
		for _, m := range c.Process([]byte("+"+packet), Outbound, time.Time{}) {
			if m.Direction == DirectionUnknown {
				done++
			}
		}
		if done == 0 || len(c.work) > workLimit {
			t.Errorf("%q: %d packets without a direction after %d steps, want some within %d", packet, done, len(c.work), workLimit)
		}
	}
}

func TestAChainTellsOnlyTheBoxWhoseDeadlineCame(t *testing.T) {
	start := time.Unix(1000, 0)
	a := &scripted{name: 'a', due: start.Add(2 * time.Second), held: []byte("+A")}
	b := &scripted{name: 'b', due: start.Add(time.Second), held: []byte("B")}
	c := Chain(a, b)
	for _, want := range []struct {
		next time.Time
		out  string
	}{{start.Add(time.Second), "outbound B"}, {start.Add(2 * time.Second), "outbound A"}} {
		next := c.Next()
		if !next.Equal(want.next) {
			t.Errorf("next: got %v, want %v", next, want.next)
		}
		if got := spell(c.Process(nil, DirectionUnknown, next)); !slices.Equal(got, []string{want.out}) {
			t.Errorf("got %q, want %q", got, want.out)
		}
	}
	if !c.Next().IsZero() {
		t.Errorf("next: got %v, want none", c.Next())
	}
}

func TestAChainOfOneIsTheBoxItself(t *testing.T) {
	a := &scripted{name: 'a'}
	if got := Chain(nil, a); got != a {
		t.Errorf("got %v, want the box", got)
	}
	if got := Chain(nil, nil); got != nil {
		t.Errorf("got %v, want nil", got)
	}
}

// pass is a box that changes nothing.
type pass struct{ out [1]Emission }

func (*pass) Next() time.Time { return time.Time{} }

func (b *pass) Process(p []byte, d Direction, _ time.Time) []Emission {
	b.out[0] = Emission{d, p}
	return b.out[:]
}

func TestAChainAllocatesNothing(t *testing.T) {
	c, p := Chain(&pass{}, &pass{}, &pass{}), make([]byte, 1500)
	if got := testing.AllocsPerRun(100, func() { c.Process(p, Outbound, time.Time{}) }); got != 0 {
		t.Errorf("got %v allocations for each packet, want none", got)
	}
}
