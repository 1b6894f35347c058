package timing

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// percentile is that by nearest rank.
func percentile[T cmp.Ordered](list []T, share float64) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// outcome gathers trials: what the estimator, the two forms of the other
// method, and the best estimator on idle paths err by.
type outcome struct {
	errors, pooled, median, limits, bounds, uncertainties []time.Duration
	outOfBound, outOfUncertainty                          int
}

func (o *outcome) add(t trial) error {
	takenA, takenB := taken(t.a, t.public), taken(t.b, t.public)
	now := max(ended(takenA), ended(takenB))
	a, errA := judge(takenA, now)
	b, errB := judge(takenB, now)
	if err := cmp.Or(errA, errB); err != nil {
		return err
	}
	al, ok := Align(a.Offsets(now), b.Offsets(now))
	if !ok {
		return fmt.Errorf("no common server in %v and %v", a.Servers, b.Servers)
	}
	off := (al.Difference() - t.difference).Abs()
	pooled, median := averaged(t)
	o.errors, o.limits = append(o.errors, off), append(o.limits, t.limit)
	o.pooled, o.median = append(o.pooled, pooled), append(o.median, median)
	o.bounds, o.uncertainties = append(o.bounds, al.Bound), append(o.uncertainties, al.Uncertainty)
	if off > al.Bound {
		o.outOfBound++
	}
	if off > al.Uncertainty {
		o.outOfUncertainty++
	}
	return nil
}

// replay is a source that gives recorded samples.
type replay struct {
	answer
	next  int
	limit int
}

func (r *replay) Name() string { return r.name }

func (r *replay) pace() (int, time.Duration) { return r.limit, 0 }

func (r *replay) Sample(context.Context) (Sample, error) {
	if r.next == len(r.samples) {
		return Sample{}, ErrNoAnswer
	}
	r.next++
	return r.samples[r.next-1], nil
}

// taken are the samples that Sync takes of those recorded: of public servers
// two, of others eight and more as it sees fit.
func taken(answers []answer, public bool) []answer {
	limit := recordedSamples
	if public {
		limit = publicSamples
	}
	var list []answer
	for _, a := range answers {
		got := ask(context.Background(), &replay{answer: a, limit: limit}, 8, 0)
		got.err = nil
		list = append(list, got)
	}
	return list
}

// ended is when the last sample was taken.
func ended(answers []answer) Instant {
	var last Instant
	for _, a := range answers {
		last = max(last, a.samples[len(a.samples)-1].Destination)
	}
	return last
}

// figures are what the tests hold the estimator to.
type figures struct {
	p95, limit, rival, bound time.Duration
	better, reachable        float64 // than the other method at p95: the estimator, and the limit
	padding                  float64 // median uncertainty, by the error's p95
	covered                  float64 // share of truths inside the uncertainty
}

func (o *outcome) figures() figures {
	f := figures{p95: percentile(o.errors, .95), limit: percentile(o.limits, .95), bound: percentile(o.bounds, .5), rival: percentile(o.rival(), .95)}
	f.better, f.reachable = float64(f.rival)/float64(f.p95), float64(f.rival)/float64(f.limit)
	f.padding = float64(percentile(o.uncertainties, .5)) / float64(f.p95)
	f.covered = 1 - float64(o.outOfUncertainty)/float64(len(o.errors))
	return f
}

// rival is the kinder form of the other method on these paths.
func (o *outcome) rival() []time.Duration {
	if percentile(o.pooled, .95) < percentile(o.median, .95) {
		return o.pooled
	}
	return o.median
}

// simulated are the sets of networks, each with its seed.
var simulated = []struct {
	name     string
	seed     uint64
	networks []network
}{{"tuned", tunedSeed, tuned}, {"held-out", heldOutSeed, heldOut}, {"fresh", freshSeed, fresh}}

func TestPairDifferenceIsPreciseAndItsErrorHonest(t *testing.T) {
	for _, set := range simulated {
		for _, n := range set.networks {
			t.Run(set.name+"/"+n.name, func(t *testing.T) {
				t.Parallel()
				r := rand.New(rand.NewPCG(set.seed, 0))
				var o outcome
				for range pairsOf(t) {
					if err := o.add(n.trial(r)); err != nil {
						t.Fatal(err)
					}
				}
				hold(t, n, &o)
			})
		}
	}
}

// pairsVariable asks for more pairs of each network than an ordinary test.
const pairsVariable = "TCPPUNCH_TIMING_PAIRS"

func pairsOf(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv(pairsVariable)); err == nil && n > 0 {
		return n
	}
	return 1000
}

// reached is how near to the limit of what any weighing of the servers can do
// the estimator must come where that limit is below four times better.
const reached = 1.1

// hold holds the outcomes on a network to what the estimator promises.
func hold(t *testing.T, n network, o *outcome) {
	t.Helper()
	f := o.figures()
	t.Logf("| %s | %v | %v | %v | %.1f | %.1f | %v | %.2f | %.2f |", n.name, brief(f.rival), brief(f.limit), brief(f.p95), f.reachable, f.better, brief(f.bound), f.padding, f.covered*100)
	if o.outOfBound > 0 {
		t.Errorf("%d of %d truths lie outside of the certain bound", o.outOfBound, len(o.errors))
	}
	if f.better < 4 && float64(f.p95) > reached*float64(f.limit) {
		t.Errorf("error p95 %v: %.1f times better than averaging arrivals, where paths without waiting allow %.1f", f.p95, f.better, f.reachable)
	}
	if least := cmp.Or(n.covered, .99); f.covered < least {
		t.Errorf("the truth lies inside the uncertainty in %.2f %%, want %.0f %%", f.covered*100, least*100)
	}
	if f.padding > 3 {
		t.Errorf("the uncertainty is %.2f times the error's p95, want at most 3", f.padding)
	}
}

func brief(d time.Duration) time.Duration {
	if d > ms {
		return d.Round(10 * us)
	}
	return d.Round(us)
}

func BenchmarkJudge(b *testing.B) {
	t := tuned[1].trial(rand.New(rand.NewPCG(1, 0)))
	for b.Loop() {
		judge(t.a, Instant(time.Second))
	}
}

func BenchmarkAlign(b *testing.B) {
	t := tuned[1].trial(rand.New(rand.NewPCG(1, 0)))
	now := Instant(time.Second)
	low, _ := judge(t.a, now)
	high, _ := judge(t.b, now)
	l, h := low.Offsets(now), high.Offsets(now)
	for b.Loop() {
		Align(l, h)
	}
}
