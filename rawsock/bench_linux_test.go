package rawsock

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tcppunch/rawsock/netlab/netlabtest"
)

// BenchmarkBurst sends 1000 SYNs to a host that neither forwards nor answers,
// from sockets that stand ready and from the same sockets made at the instant,
// in turn. The figure that compares is prepared-share.
func BenchmarkBurst(b *testing.B) {
	const n = 1000
	nsA, _, addrA, addrB := netlabtest.Pair(b)
	sink := netip.MustParseAddrPort("203.0.113.1:7000")
	if err := nsA.AddRoute(netip.PrefixFrom(sink.Addr(), 32), addrB, netlabtest.Link); err != nil {
		b.Fatal(err)
	}
	local := func(i int) netip.AddrPort { return netip.AddrPortFrom(addrA, uint16(20000+i)) }
	var prepared, unprepared time.Duration
	err := nsA.Do(func() error {
		for b.Loop() {
			p, err := preparedBurst(b, n, local, sink)
			if err != nil {
				return err
			}
			u, err := unpreparedBurst(n, local, sink)
			if err != nil {
				return err
			}
			prepared, unprepared = prepared+p, unprepared+u
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(prepared.Nanoseconds())/float64(b.N*n), "prepared-ns/SYN")
	b.ReportMetric(float64(unprepared.Nanoseconds())/float64(b.N*n), "unprepared-ns/SYN")
	b.ReportMetric(prepared.Seconds()/unprepared.Seconds(), "prepared-share")
}

func preparedBurst(b *testing.B, n int, local func(int) netip.AddrPort, remote netip.AddrPort) (time.Duration, error) {
	shots := make([]Shot, n)
	for i := range shots {
		s, err := Open(local(i), Options{})
		if err != nil {
			return 0, err
		}
		defer s.Close()
		shots[i] = Shot{Socket: s, Remote: remote}
	}
	launched, err := Launch(b.Context(), ahead(15*time.Millisecond), shots)
	if err != nil {
		return 0, err
	}
	first, last := launched.Shots[0].Before, int64(0)
	for _, f := range launched.Shots {
		first, last = min(first, f.Before), max(last, f.After)
	}
	return time.Duration(last - first), nil
}

func unpreparedBurst(n int, local func(int) netip.AddrPort, remote netip.AddrPort) (time.Duration, error) {
	begin := time.Now()
	for i := range n {
		s, err := Open(local(i), Options{})
		if err != nil {
			return 0, err
		}
		defer s.Close()
		if err := s.Connect(remote); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// BenchmarkLaunch launches one socket at an instant 12 ms ahead, by each step of
// preparation that the system grants, and tells how late connect() was called.
// When the SYN was on the wire `tcppunch lab bench launch` measures.
func BenchmarkLaunch(b *testing.B) {
	for _, limit := range []Step{StepSpin, StepNice, StepRealTime} {
		b.Run(fmt.Sprint(limit), func(b *testing.B) {
			shots, _ := salvo(b, 1, 0)
			pad := NewLaunchpad(LaunchConfig{Limit: limit})
			defer pad.Close()
			if got := pad.Privileges().Step; got != limit {
				b.Skipf("the system grants only %v", got)
			}
			var late, worst time.Duration
			for b.Loop() {
				at := ahead(12 * time.Millisecond)
				fired, err := pad.Launch(b.Context(), at, shots)
				if err != nil {
					b.Fatal(err)
				}
				d := time.Duration(fired[0].Before - at)
				late, worst = late+d, max(worst, d)
			}
			b.ReportMetric(float64(late.Nanoseconds())/float64(b.N), "late-ns")
			b.ReportMetric(float64(worst.Nanoseconds()), "worst-ns")
		})
	}
}
