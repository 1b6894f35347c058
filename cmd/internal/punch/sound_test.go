package punch

import (
	"net/netip"
	"testing"
	"time"

	"tcppunch/predict"
)

func TestOwnVolleysAreNoForeignTraffic(t *testing.T) {
	s := &sounding{}
	start := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	see := func(port uint16) {
		n := len(s.seen)
		s.seen = append(s.seen, predict.Observation{At: start.Add(time.Duration(n) * 100 * time.Millisecond),
			Local:     netip.AddrPortFrom(netip.MustParseAddr("192.168.1.2"), uint16(5000+2*n)),
			Server:    netip.MustParseAddrPort("192.0.2.10:3478"),
			Reflexive: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), port)})
	}
	for i := range uint16(8) {
		see(40000 + i)
	}
	s.own = []stride{{len(s.seen), 32}}
	see(40040)
	see(40041)
	traffic := func(list []predict.Observation) (mean float64) {
		for _, x := range predict.Classify(list).Ports.Parameters.Traffic {
			mean += x.Rate * x.Weight
		}
		return mean
	}
	if with, without := traffic(s.seen), traffic(s.undisturbed()); without > with/4 {
		t.Errorf("foreign traffic of %.2f a second, and %.2f with the own volley counted in", without, with)
	}
	if last := s.undisturbed()[9].Reflexive.Port(); last != 40041 || s.seen[0].Reflexive.Port() != 40000 {
		t.Errorf("the newest port has become %d", last)
	}
}
