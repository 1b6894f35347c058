package captures

import (
	"errors"
	"net/netip"
	"testing"
)

func TestEveryLinkTypeGivesTheSameSegment(t *testing.T) {
	for _, link := range []LinkType{LinkEthernet, LinkSLL, LinkSLL2, LinkRaw, LinkIPv4, LinkNull, LinkLoop, LinkPPP, 12} {
		_, data := frame(t, "A syn-ack 100 901 ttl=61", link)
		got, err := NewDecoder().Decode(link, data)
		want := Segment{From: hostA, To: hostB, Kind: KindSynAck, Seq: 100, Ack: 901, Window: 1000, TTL: 61}
		if link == LinkSLL2 {
			want.Interface = 7
		}
		if err != nil || got != want {
			t.Errorf("%v: got %+v, %v, want %+v", link, got, err, want)
		}
	}
}

func TestAnICMPErrorNamesTheSegmentThatItQuotes(t *testing.T) {
	_, data := frame(t, "B icmp 4711", LinkEthernet)
	got, err := NewDecoder().Decode(LinkEthernet, data)
	want := Segment{From: hostB, To: hostA, Reporter: netip.MustParseAddr("203.0.113.9"), ICMPType: 3, ICMPCode: 13, Kind: KindICMPUnreachable, Seq: 4711, TTL: 60, QuotedTTL: 1}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestOptionsCutOffLeaveTheSegment(t *testing.T) {
	_, data := frame(t, "A syn 100", LinkRaw)
	data[32] = 10 << 4 // a data offset beyond what was captured
	got, err := NewDecoder().Decode(LinkRaw, data)
	if err != nil || got.Kind != KindSyn || got.Seq != 100 {
		t.Errorf("got %+v, %v, want the SYN", got, err)
	}
}

func TestPayloadIsCountedByTheIPHeader(t *testing.T) {
	_, data := frame(t, "A data 101 901 len=1000", LinkRaw)
	got, err := NewDecoder().Decode(LinkRaw, data[:60])
	if err != nil || got.PayloadLen != 1000 {
		t.Errorf("got %d bytes, %v, want 1000", got.PayloadLen, err)
	}
}

func TestWhatIsNotTCPIsToldFromWhatIsDamaged(t *testing.T) {
	_, data := frame(t, "A syn 100", LinkRaw)
	data[9] = 17
	if _, err := NewDecoder().Decode(LinkRaw, data); !errors.Is(err, ErrNotTCP) {
		t.Errorf("UDP: got %v, want ErrNotTCP", err)
	}
	if _, err := NewDecoder().Decode(LinkRaw, data[:12]); err == nil || errors.Is(err, ErrNotTCP) {
		t.Errorf("half an IP header: got %v, want damage", err)
	}
}
