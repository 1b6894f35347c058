package predict_test

import (
	"fmt"
	"net/netip"
	"time"

	"tcppunch/predict"
)

// A sequential NAT was seen taking three ports, two apart.
func Example() {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	local := netip.MustParseAddrPort("192.168.0.2:5000")
	var obs []predict.Observation
	for i, server := range []string{"198.51.100.1:3478", "198.51.100.1:3479", "198.51.100.2:3478"} {
		obs = append(obs, predict.Observation{
			At:        at.Add(time.Duration(i) * 30 * time.Millisecond),
			Local:     local,
			Server:    netip.MustParseAddrPort(server),
			Reflexive: netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), uint16(40000+2*i)),
		})
	}
	b := predict.Classify(obs)
	fmt.Println(b.Mapping, b.Ports.Model, b.Ports.Parameters.Delta)
	for _, c := range predict.Candidates(predict.Party{Behavior: b, Outside: obs[2].Reflexive, Gap: 30 * time.Millisecond}, 2) {
		fmt.Printf("%v %.2f\n", c.Addr, c.Probability)
	}
	// Output:
	// address-and-port-dependent sequential 2
	// 203.0.113.1:40006 0.92
	// 203.0.113.1:40008 0.02
}
