package captures

import (
	"net/netip"
	"testing"
)

func TestTheEstablishedOpeningTellsMost(t *testing.T) {
	w := newWorld().play(t, scenarios[VerdictRefused]...)
	other := newWorld()
	other.from = dawn.Add(ms)
	for side, list := range w.addresses { // on other ports
		for i := range list {
			list[i] = netip.AddrPortFrom(list[i].Addr(), list[i].Port()+1)
		}
		other.addresses[side] = list
	}
	script := append([]sent(nil), scenarios[VerdictSimultaneousOpen]...)
	for i := range script {
		script[i].seq += 1 << 20
		if script[i].ack > 0 {
			script[i].ack += 1 << 20
		}
	}
	other.play(t, script...)
	var sources []Source
	for p := range 4 {
		sources = append(sources, w.file(t, placeNames[p], append(w.perPlace[p], other.perPlace[p]...)))
	}
	a, err := Analyze(sources, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Handshakes) != 2 {
		t.Fatalf("got %v", a.Summary)
	}
	if h := a.Telling(); h == nil || h.Verdict != VerdictSimultaneousOpen {
		t.Errorf("got %+v", h)
	}
	if h := (Analysis{}).Telling(); h != nil {
		t.Errorf("got %v where there is nothing", h.Verdict)
	}
}

func TestAnAnsweredOpeningTellsMoreThanSilence(t *testing.T) {
	no := new(false)
	refused := Handshake{Verdict: VerdictRefused, Established: no}
	silent := Handshake{Verdict: VerdictUnanswered, Established: no}
	for _, list := range [][]Handshake{{refused, silent}, {silent, refused}} {
		if h := (Analysis{Handshakes: list}).Telling(); h.Verdict != VerdictRefused {
			t.Errorf("of %v and %v got %v", list[0].Verdict, list[1].Verdict, h.Verdict)
		}
	}
}

func TestThePictureIsOfACrossingAmongOrdinaryConnections(t *testing.T) {
	ordinary := Handshake{Verdict: VerdictThreeWay, Established: new(true), SynsA: 1}
	missed := Handshake{Verdict: VerdictRefused, Established: new(false), SynsA: 1, SynsB: 1}
	crossed := Handshake{Verdict: VerdictSimultaneousOpen, Established: new(true), SynsA: 1, SynsB: 1}
	for _, list := range [][]Handshake{{ordinary, missed, ordinary}, {missed, ordinary}} {
		if h := (Analysis{Handshakes: list}).Picture(); h.Verdict != VerdictRefused {
			t.Errorf("of %d got %v, want the missed crossing", len(list), h.Verdict)
		}
	}
	if h := (Analysis{Handshakes: []Handshake{ordinary, crossed, missed}}).Picture(); h.Verdict != VerdictSimultaneousOpen {
		t.Errorf("got %v, want the crossing that stood", h.Verdict)
	}
	if h := (Analysis{}).Picture(); h != nil {
		t.Errorf("got %v where there is nothing", h.Verdict)
	}
}
