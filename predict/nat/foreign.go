package nat

import (
	"math"
	"net/netip"
	"time"
)

// foreign is the traffic of other inside hosts through the same allocator.
type foreign struct {
	started bool
	next    time.Time // when the next batch comes
	live    []foreignMapping
	ended   int // how many at the head of live are over
}

type foreignMapping struct {
	outside, to netip.AddrPort
	until       time.Time
}

// foreignHosts is how many other inside hosts there are: what a small carrier
// NAT or a busy office has on one external address.
const foreignHosts = 64

func (f *foreign) advance(a *Allocator, now time.Time) {
	if !f.started {
		f.started, f.next = true, now
		f.schedule(a)
	}
	for !f.next.After(now) {
		f.expire(a, f.next)
		for range f.batch(a) {
			f.open(a)
		}
		f.schedule(a)
	}
	f.expire(a, now)
}

// schedule draws when the next batch comes. Batches of mean size B come at
// Churn/B per second.
func (f *foreign) schedule(a *Allocator) {
	mean := float64(time.Second) * a.config.ChurnBatch / a.config.Churn
	f.next = f.next.Add(time.Duration(min(a.rand.ExpFloat64()*mean, float64(365*24*time.Hour))))
}

// batch draws a geometric number with mean ChurnBatch, at least 1.
func (f *foreign) batch(a *Allocator) int {
	p := 1 / a.config.ChurnBatch
	if p >= 1 {
		return 1
	}
	return 1 + int(math.Log(1-a.rand.Float64())/math.Log1p(-p))
}

// open takes an endpoint for a foreign host and destination.
func (f *foreign) open(a *Allocator) {
	host := netip.AddrFrom4([4]byte{100, 64, 255, byte(a.rand.IntN(foreignHosts))}) // RFC 6598
	inside := netip.AddrPortFrom(host, uint16(32768+a.rand.IntN(28232)))            // Linux's ephemeral ports
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 0, byte(a.rand.IntN(256))}), 443)
	if outside, ok := a.Take(inside, to); ok {
		f.live = append(f.live, foreignMapping{outside, to, f.next.Add(a.config.ChurnLife)})
	}
}

// expire lets go of those whose time is over. All last equally long, so they
// end in the order in which they came.
func (f *foreign) expire(a *Allocator, now time.Time) {
	for f.ended < len(f.live) && !f.live[f.ended].until.After(now) {
		a.Release(f.live[f.ended].outside, f.live[f.ended].to)
		f.ended++
	}
	if f.ended > len(f.live)/2 {
		f.live = append(f.live[:0], f.live[f.ended:]...)
		f.ended = 0
	}
}
