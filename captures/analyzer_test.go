package captures

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestAHostIsChosenByItsAddressInAnyForm(t *testing.T) {
	here := Handshake{Vantages: []Vantage{{A: hostA, B: netip.MustParseAddrPort("[fe80::2]:5001")}}}
	for host, want := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.1": true, "fe80::2": true, "fe80::2%eth0": true, "192.0.2.9": false} {
		if got := (Filter{Host: netip.MustParseAddr(host)}).matches(here); got != want {
			t.Errorf("%s: got %v", host, got)
		}
	}
}

func TestEveryOpeningIsKeptOrCounted(t *testing.T) {
	var a Analyzer
	_, syn := frame(t, "A syn 100", LinkRaw)
	const flood = shards*maxOpenings + 1000
	for i := range uint32(flood) {
		binary.BigEndian.PutUint32(syn[16:], i) // the destination
		binary.BigEndian.PutUint16(syn[22:], uint16(i))
		binary.BigEndian.PutUint32(syn[24:], i) // the sequence number
		a.Add(0, LinkRaw, Packet{Time: dawn.Add(time.Duration(i)), Data: syn, Length: len(syn)})
	}
	kept, counts := a.openings()
	if n := len(kept) + counts[VerdictUnanswered]; n != flood || len(kept) > shards*maxKept {
		t.Errorf("got %d openings kept and %d counted, want %d in all", len(kept), counts[VerdictUnanswered], flood)
	}
	for i := range a.shards {
		if n := a.shards[i].openings.held(); n > maxOpenings+maxKept {
			t.Errorf("got %d openings in a shard, want at most %d", n, maxOpenings+maxKept)
		}
	}
	if a.early() == 0 {
		t.Error("got no opening that was judged before its time")
	}
}

func TestAfterManyRefusalsTheLastAttemptDecides(t *testing.T) {
	const tries = 1000
	var script []string
	for i := range tries {
		script = append(script, fmt.Sprintf("A syn %d", 1000+i*10), fmt.Sprintf("B rst-ack 0 %d", 1001+i*10))
	}
	list := play(t, append(script, "A syn 100", "B syn 900", "A syn-ack 100 901", "B syn-ack 900 101", "A ack 101 901", "B ack 901 101")...)
	if len(list) != 1 {
		t.Fatalf("got %d handshakes, want 1", len(list))
	}
	h := list[0]
	if h.Verdict != VerdictSimultaneousOpen || h.AttemptsA != tries+1 || h.SynsA != tries+1 || len(h.Events) > maxFlowLength {
		t.Errorf("got %v, %d attempts, %d SYNs, %d events", h.Verdict, h.AttemptsA, h.SynsA, len(h.Events))
	}
}

func TestAScannerThatUsesOneNumberOpensManyHandshakes(t *testing.T) {
	var a Analyzer
	for i := range uint32(50) {
		_, data := frame(t, "A syn 100", LinkRaw)
		binary.BigEndian.PutUint32(data[16:], i)
		a.Add(0, LinkRaw, Packet{Time: dawn, Data: data})
	}
	if n := len(a.Handshakes()); n != 50 {
		t.Errorf("got %d handshakes, want 50", n)
	}
}

// copies are SYNs of one sequence number, with one timestamp, to many
// destinations; change sees each before it is fed.
func copies(t *testing.T, count int, change func(i uint32, packet []byte)) *Analyzer {
	t.Helper()
	syn := newWorld().play(t, sent{side: SideA, kind: KindSyn, seq: 100}).perPlace[0][0].Data
	a := new(Analyzer)
	for i := range uint32(count) {
		data := bytes.Clone(syn)
		binary.BigEndian.PutUint32(data[16:], 8<<24|i)
		change(i, data)
		a.Add(0, LinkRaw, Packet{Time: dawn.Add(time.Duration(i)), Data: data, Length: len(data)})
	}
	return a
}

func TestAScannerThatUsesOneTimestampOpensManyHandshakes(t *testing.T) {
	a := copies(t, 50, func(i uint32, packet []byte) { binary.BigEndian.PutUint16(packet[4:], uint16(i)) }) // as nmap -O does
	if n := len(a.Handshakes()); n != 50 {
		t.Errorf("got %d handshakes, want 50", n)
	}
}

func TestEqualSynsByTheThousandAreNoExchangeOfThousands(t *testing.T) {
	const many = 2000
	list := copies(t, many, func(uint32, []byte) {}).Handshakes()
	places := 0
	for _, h := range list {
		places += len(h.Vantages)
		if len(h.Vantages) > maxUnited {
			t.Fatalf("got an exchange at %d places, want at most %d", len(h.Vantages), maxUnited)
		}
	}
	if places != many {
		t.Errorf("got %d SYNs in %d handshakes, want %d", places, len(list), many)
	}
}

func BenchmarkAddEstablished(b *testing.B) {
	var a Analyzer
	_, syn := frame(b, "A syn 100", LinkEthernet)
	_, data := frame(b, "A data 101 901 len=100", LinkEthernet)
	a.Add(0, LinkEthernet, Packet{Time: dawn, Data: syn})
	b.ReportAllocs()
	for b.Loop() {
		a.Add(0, LinkEthernet, Packet{Time: dawn, Data: data})
	}
}

func TestALongSilenceAmongManyOpeningsDoesNotHideACrossing(t *testing.T) {
	var a Analyzer
	now := dawn
	frames := map[string][]byte{}
	send := func(line string, client uint32) {
		data := frames[line]
		if data == nil {
			_, data = frame(t, line, LinkRaw)
			frames[line] = data
		}
		at := 12 // the source
		if line[0] == 'B' {
			at = 16
		}
		binary.BigEndian.PutUint32(data[at:], 0x0a000000+client)
		now = now.Add(3 * time.Millisecond)
		a.Add(0, LinkRaw, Packet{Time: now, Data: data, Length: len(data)})
	}
	send("A syn 100", 0)
	for client := range uint32(maxKeptAlone + 2000) { // all of one shard, since their ports are the same
		for _, line := range []string{"A syn 7", "B syn-ack 70 8", "A ack 8 71", "B ack 71 8"} {
			send(line, client+1)
		}
	}
	for _, line := range []string{"B syn 900", "A syn-ack 100 901", "B syn-ack 900 101", "A ack 101 901", "B ack 901 101"} {
		send(line, 0)
	}
	list, counts := a.openings()
	for _, o := range list {
		counts[verdictOf(o.shard.expand(o.number))]++
	}
	if counts[VerdictSimultaneousOpen] != 1 || counts[VerdictThreeWay] != maxKeptAlone+2000 || now.Sub(dawn) < 10*time.Second {
		t.Errorf("got %v", counts)
	}
}
