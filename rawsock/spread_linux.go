package rawsock

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"time"
)

// A connect() costs about twice what a crafted SYN does, so that one processor
// cannot send a burst as fast as sendmmsg(2) does; two can.
const (
	spreadFrom  = 128                   // shots; fewer leave within some 300 µs
	spreadTakes = 10 * time.Millisecond // to prepare another thread
	mostThreads = 4                     // more bring little, and leave no processor to others
)

// threadsFor says on how many threads a burst is launched: one, unless the
// burst is large, without pauses, and far enough ahead.
func threadsFor(at int64, shots []Shot) int {
	if len(shots) < spreadFrom || shots[len(shots)-1].After > 0 || time.Duration(at-monotonic()) < spreadTakes {
		return 1
	}
	return min(runtime.NumCPU(), runtime.GOMAXPROCS(0), mostThreads)
}

// spread launches shot i on thread i mod n, the first on this one.
func (p *Launchpad) spread(ctx context.Context, at int64, shots []Shot, n int) ([]Fired, error) {
	type result struct {
		fired []Fired
		err   error
	}
	results := make([]result, n)
	others := make(chan struct{})
	for k := 1; k < n; k++ {
		go func() {
			other := NewLaunchpad(p.config)
			fired, err := other.launch(ctx, at, every(shots, k, n))
			results[k] = result{fired, errors.Join(err, other.Close())}
			others <- struct{}{}
		}()
	}
	fired, err := p.launch(ctx, at, every(shots, 0, n))
	results[0] = result{fired, err}
	for range n - 1 {
		<-others
	}
	all, errs := make([]Fired, len(shots)), make([]error, n)
	for k, r := range results {
		errs[k] = r.err
		for i, f := range r.fired {
			all[k+i*n] = f
		}
	}
	return all, cmp.Or(errs...)
}

// every is each n-th shot from shot k on.
func every(shots []Shot, k, n int) []Shot {
	var list []Shot
	for i := k; i < len(shots); i += n {
		list = append(list, shots[i])
	}
	return list
}
