package rendezvous

import (
	"net/netip"
	"sync"
	"time"
)

// How many SYNs of dial-backs may go out.
const (
	dialsPerNetwork = 64 // a minute, to a network as the gate counts them
	dialsInAll      = 4_096
	dialWindow      = time.Minute
)

// dialLimit counts the dial-backs of the present minute.
type dialLimit struct {
	mu    sync.Mutex
	began time.Time
	all   int
	spent map[netip.Prefix]int
}

func newDialLimit() dialLimit { return dialLimit{spent: map[netip.Prefix]int{}} }

// take spends one dial, if one is left.
func (l *dialLimit) take(to netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.began).Abs() >= dialWindow {
		l.began, l.all = now, 0
		clear(l.spent)
	}
	if l.all >= dialsInAll {
		return false
	}
	for _, n := range networksOf(to) {
		if l.spent[n] >= dialsPerNetwork {
			return false
		}
	}
	l.all++
	for _, n := range networksOf(to) {
		l.spent[n]++
	}
	return true
}
