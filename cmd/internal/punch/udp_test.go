package punch

import (
	"errors"
	"net/netip"
	"testing"

	"tcppunch/predict"
	"tcppunch/predict/nat"
)

func TestFailedDatagramsNameTheirCause(t *testing.T) {
	hard := &NAT{Behavior: predict.Behavior{Mapping: nat.AddressOrPort}}
	for name, c := range map[string]struct {
		nat  *NAT
		e    datagramExchange
		want Cause
	}{
		"silence":                              {nil, datagramExchange{}, NATFiltered},
		"silence, and a port that was guessed": {hard, datagramExchange{}, PortMispredicted},
		"another key":                          {nil, datagramExchange{forged: 3}, AuthFailed},
		"another key beside the peer":          {nil, datagramExchange{forged: 3, answered: 1}, NATFiltered},
	} {
		m := &meeting{report: newReport("b")}
		m.report.PeerNAT, m.report.Remote = c.nat, pointer(netip.MustParseAddrPort("192.0.2.1:5000"))
		no, ok := errors.AsType[*failed](m.causeUDP(&c.e))
		if !ok || no.cause != c.want || no.text == "" {
			t.Errorf("%s: got %+v, want %s", name, no, c.want)
		}
	}
}
