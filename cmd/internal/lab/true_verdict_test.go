package lab

import (
	"net/netip"
	"slices"
	"testing"

	"tcppunch/captures"
)

var (
	outerA, outerB = netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("203.0.113.1:2")
	otherA, otherB = netip.MustParseAddrPort("198.51.100.1:7"), netip.MustParseAddrPort("203.0.113.1:8")
)

// told makes sightings of the opening between two endpoints from words: who
// sends what, and with which number.
type told struct {
	from  byte
	kind  string
	seq   uint32
	acked uint32
}

func tell(a, b netip.AddrPort, list ...told) []sighting {
	var out []sighting
	for _, x := range list {
		from, to := a, b
		if x.from == 'b' {
			from, to = b, a
		}
		s := sighting{from: x.from, header: header{source: from, destination: to, seq: x.seq, acked: x.acked}}
		h := &s.header
		h.syn = x.kind == "syn" || x.kind == "syn-ack" || x.kind == "dying syn"
		h.ack = x.kind == "syn-ack" || x.kind == "ack" || x.kind == "rst-ack"
		h.rst = x.kind == "rst" || x.kind == "rst-ack"
		s.expired = x.kind == "dying syn"
		if x.kind == "icmp" {
			s.header = header{source: netip.AddrPortFrom(from.Addr(), 0), destination: netip.AddrPortFrom(to.Addr(), 0), unreachable: true, quoted: &[2]netip.AddrPort{to, from}}
		}
		out = append(out, s)
	}
	return out
}

func TestTrueVerdictFollowsFromWhatPassed(t *testing.T) {
	synA, synB := told{'a', "syn", 100, 0}, told{'b', "syn", 500, 0}
	ackA, ackB := told{'a', "ack", 101, 501}, told{'b', "ack", 501, 101}
	answerA, answerB := told{'a', "syn-ack", 100, 501}, told{'b', "syn-ack", 500, 101}
	againA := told{'a', "syn", 900, 0}
	refusal := told{'b', "rst-ack", 0, 101}
	stood := tell(otherA, otherB, synA, answerB, ackA)
	for _, c := range []struct {
		name  string
		seen  []told
		aside []sighting // another opening
		want  captures.Verdict
	}{
		{"both answered", []told{synA, synB, answerA, answerB, ackA, ackB}, nil, captures.VerdictSimultaneousOpen},
		{"both answered, and no ACK came out", []told{synA, synB, answerA, answerB}, nil, captures.VerdictSimultaneousOpen},
		{"one answered", []told{synA, synB, answerA, ackB}, nil, captures.VerdictLateCrossing},
		{"a listener answered", []told{synA, answerB, ackA}, nil, captures.VerdictThreeWay},
		{"a reset", []told{synA, refusal, synB}, nil, captures.VerdictRefused},
		{"a bare reset", []told{synA, {'b', "rst", 7, 0}}, nil, captures.VerdictRefused},
		{"a reset before anything was sent", []told{{'b', "rst", 7, 0}, synA}, nil, captures.VerdictUnanswered},
		{"a reset of the attempt before", []told{synA, refusal, againA}, nil, captures.VerdictUnanswered},
		{"a reset that comes when the next attempt has left", []told{synA, againA, refusal}, nil, captures.VerdictUnanswered},
		{"a reset, then a crossing", []told{synA, refusal, againA, synB, answerA, {'b', "syn-ack", 500, 901}, ackA, ackB}, nil, captures.VerdictSimultaneousOpen},
		{"an ICMP error about A's", []told{synA, {'b', "icmp", 0, 0}}, nil, captures.VerdictICMPRejected},
		{"an ICMP error, then a reset", []told{synA, synB, {'a', "icmp", 0, 0}, refusal}, nil, captures.VerdictICMPRejected},
		{"a SYN that died on the way", []told{{'a', "dying syn", 100, 0}}, nil, captures.VerdictICMPRejected},
		{"silence", []told{synA, synB, synA}, nil, captures.VerdictUnanswered},
		{"silence, and another opening that stood", []told{synA}, stood, captures.VerdictThreeWay},
		{"a crossing, and another opening that stood", []told{synA, synB, answerA, answerB, ackA, ackB}, stood, captures.VerdictSimultaneousOpen},
		{"nothing", nil, nil, captures.VerdictUnanswered},
	} {
		x := truth{sightings: append(tell(outerA, outerB, c.seen...), c.aside...)}
		if got := x.verdict(ends{[]netip.AddrPort{outerA}, []netip.AddrPort{outerB}}); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestBoxesTellWhereAnOpeningPassed(t *testing.T) {
	own, middle := netip.MustParseAddrPort("192.168.1.2:40000"), netip.MustParseAddrPort("100.64.1.2:41000")
	mapped := func(box string, inside, outside, peer netip.AddrPort) Mapping {
		return Mapping{Box: box, Change: Created, Protocol: "tcp", Inside: inside, Outside: outside, Peer: peer}
	}
	boxes := []string{"nat-a", "nat-b", "nat-a-2"}
	x := truth{mappings: []Mapping{
		mapped("nat-a", own, middle, outerB), mapped("nat-a-2", middle, outerA, outerB), // one behind the other
		mapped("nat-a", own, middle, otherB), mapped("nat-a-2", middle, otherA, otherB), // towards another peer
		mapped("nat-b", own, otherA, outerB), // another side's
	}}
	for _, c := range []struct {
		name string
		a, b view
		want ends
	}{
		{"one client saw it", view{own, outerB}, view{}, ends{[]netip.AddrPort{outerA}, []netip.AddrPort{outerB}}},
		{"both did", view{own, outerB}, view{netip.MustParseAddrPort("192.168.2.2:2"), otherA}, ends{[]netip.AddrPort{otherA}, []netip.AddrPort{outerB}}},
		{"no box let it out", view{own, netip.MustParseAddrPort("203.0.113.1:99")}, view{}, ends{nil, []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:99")}}},
	} {
		if got := x.endsOf(c.a, c.b, boxes); !slices.Equal(got.a, c.want.a) || !slices.Equal(got.b, c.want.b) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSummaryComparesTheCapturesWithTheTruth(t *testing.T) {
	refused, silent := "refused", "unanswered"
	s := Summarize([]Trial{
		{Valid: true, TrueVerdict: &refused, CapturedVerdict: &refused},
		{Valid: true, TrueVerdict: &refused, CapturedVerdict: &silent},
		{Valid: true, CapturedVerdict: &silent},
		{TrueVerdict: &refused, CapturedVerdict: &silent},
	})
	if s.Judged != 2 || s.JudgementCorrect == nil || *s.JudgementCorrect != 0.5 || s.Judgements[refused][silent] != 1 {
		t.Errorf("got %d judged, %v correct, %v", s.Judged, s.JudgementCorrect, s.Judgements)
	}
}
