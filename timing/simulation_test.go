package timing

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// paths describes the network between two peers and the servers that both ask.
type paths struct {
	name       string
	near, far  time.Duration // least round trips, evenly in between
	asymmetry  float64       // standard deviation of an offset's error, as a share of the round trip
	even       bool          // asymmetries evenly distributed instead of normally
	access     float64       // the same as asymmetry, common to all paths of a peer, of the nearest round trip
	jitter     time.Duration // mean waiting time, each way
	spikes     float64       // share of packets that wait ten times as long
	loss       float64
	servers    int
	liar       time.Duration // error of the last server
	liesToOne  bool          // and only one peer is lied to
	samples    int
	atLeastP2P float64 // how many times better than averaging arrivals it must be
}

var networks = []paths{
	{name: "wide area", near: 8 * ms, far: 40 * ms, asymmetry: .045, jitter: 500 * us, spikes: .05, loss: .02, servers: 4, samples: 8, atLeastP2P: 4},
	{name: "wide area, falseticker", near: 8 * ms, far: 40 * ms, asymmetry: .045, jitter: 500 * us, spikes: .05, loss: .02, servers: 5, liar: time.Second, samples: 8, atLeastP2P: 4},
	{name: "wide area, lied to one", near: 8 * ms, far: 40 * ms, asymmetry: .045, jitter: 500 * us, spikes: .05, loss: .02, servers: 5, liar: time.Second, liesToOne: true, samples: 8, atLeastP2P: 4},
	{name: "loss and jitter", near: 8 * ms, far: 40 * ms, asymmetry: .04, jitter: 3 * ms, spikes: .1, loss: .2, servers: 5, liar: time.Second, samples: 8, atLeastP2P: 4},
	{name: "metropolitan", near: 2 * ms, far: 10 * ms, asymmetry: .04, jitter: 200 * us, spikes: .05, servers: 4, samples: 8, atLeastP2P: 4},
	{name: "strongly asymmetric", near: 8 * ms, far: 40 * ms, asymmetry: .08, even: true, jitter: 500 * us, spikes: .05, servers: 4, samples: 8},
	{name: "asymmetric access line", near: 8 * ms, far: 40 * ms, asymmetry: .03, access: .05, jitter: 500 * us, spikes: .05, servers: 4, samples: 8},
	{name: "public servers", near: 8 * ms, far: 40 * ms, asymmetry: .045, jitter: 500 * us, spikes: .05, servers: 4, samples: 2, atLeastP2P: 4},
	{name: "coordinator alone", near: 8 * ms, far: 40 * ms, asymmetry: .045, jitter: 500 * us, spikes: .05, servers: 1, samples: 8},
	{name: "two servers", near: 8 * ms, far: 40 * ms, asymmetry: .045, jitter: 500 * us, spikes: .05, servers: 2, samples: 8},
	{name: "local network", near: 100 * us, far: 300 * us, asymmetry: .04, jitter: 10 * us, spikes: .1, servers: 3, samples: 8, atLeastP2P: 4},
}

// exchangeTimes are the true times of a simulated exchange, relative to the
// request.
type exchangeTimes struct{ there, back time.Duration }

// peerView is what one peer sees of a server: its path and what it was told.
type peerView struct {
	path exchangeTimes
	lie  time.Duration
}

// waits is a waiting time in a queue.
func (p paths) waits(r *rand.Rand) time.Duration {
	w := r.ExpFloat64() * float64(p.jitter)
	if r.Float64() < p.spikes {
		w *= 10
	}
	return time.Duration(w)
}

func (p paths) unit(r *rand.Rand) float64 {
	if p.even {
		return (2*r.Float64() - 1) * math.Sqrt(3)
	}
	return r.NormFloat64()
}

// view draws the path of a peer to one server.
func (p paths) view(r *rand.Rand, access float64) peerView {
	rtt := p.near + time.Duration(r.Float64()*float64(p.far-p.near))
	shift := p.unit(r)*p.asymmetry*float64(rtt) + access*float64(p.near)
	shift = max(-.4*float64(rtt), min(shift, .4*float64(rtt)))
	return peerView{path: exchangeTimes{rtt/2 + time.Duration(shift), rtt/2 - time.Duration(shift)}}
}

// trial is one pair of peers at the same servers.
type trial struct {
	difference time.Duration // the truth: b's clock minus a's
	a, b       peerTrial
}

type peerTrial struct {
	answers  []answer
	averaged time.Duration // the clock minus the servers' by averaging arrivals
}

func (p paths) trial(r *rand.Rand) trial {
	errA, errB := time.Duration(r.NormFloat64()*float64(time.Second)), time.Duration(r.NormFloat64()*float64(time.Second))
	t := trial{difference: errB - errA}
	t.a, t.b = p.peer(r, errA, true), p.peer(r, errB, !p.liesToOne)
	return t
}

func (p paths) peer(r *rand.Rand, clock time.Duration, liedTo bool) peerTrial {
	access := p.unit(r) * p.access
	var pt peerTrial
	var averages []time.Duration
	for i := range p.servers {
		v := p.view(r, access)
		if i == p.servers-1 && liedTo {
			v.lie = p.liar
		}
		replies := p.ask(r, fmt.Sprintf("server %d", i), v, clock)
		pt.answers = append(pt.answers, answer{name: replies[0].Server, samples: replies[:min(p.samples, len(replies))]})
		averages = append(averages, averageArrivals(replies))
	}
	// Averaging knows no falsetickers; the median server spares it the liar.
	slices.Sort(averages)
	pt.averaged = averages[len(averages)/2]
	if len(averages)%2 == 0 {
		pt.averaged = midpoint(averages[len(averages)/2-1], averages[len(averages)/2])
	}
	return pt
}

// ask makes 50 exchanges, 20 ms apart.
func (p paths) ask(r *rand.Rand, name string, v peerView, clock time.Duration) []Sample {
	var list []Sample
	for i := range 50 {
		if r.Float64() < p.loss && (i < 49 || len(list) > 0) {
			continue
		}
		sent := time.Duration(i) * 20 * ms
		received := sent + v.path.there + p.waits(r)
		arrived := received + v.path.back + p.waits(r)
		list = append(list, Sample{
			Server: name, T1: at(sent + clock), T2: at(received + v.lie), T3: at(received + v.lie), T4: at(arrived + clock),
			Destination: Instant(arrived), Precision: us, Stamped: true, Stratum: 1, RootDispersion: ms,
		})
	}
	return list
}

// averageArrivals is the other method: the local time of 50 arrivals minus the
// server's transmit time in them, averaged within one standard deviation.
func averageArrivals(replies []Sample) time.Duration {
	var list []float64
	for _, s := range replies {
		list = append(list, float64(s.T4.Sub(s.T3)))
	}
	mean, sd := moments(list)
	inside := slices.DeleteFunc(list, func(x float64) bool { return math.Abs(x-mean) > sd })
	mean, _ = moments(inside)
	return time.Duration(mean)
}

func moments(list []float64) (mean, sd float64) {
	for _, x := range list {
		mean += x / float64(len(list))
	}
	for _, x := range list {
		sd += (x - mean) * (x - mean) / float64(len(list))
	}
	return mean, math.Sqrt(sd)
}

// percentile of durations, nearest rank.
func percentile(list []time.Duration, share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// outcome gathers a network's trials.
type outcome struct {
	errors, averaged, uncertainties []time.Duration
	outOfBound, outOfUncertainty    int
}

func (o *outcome) add(t trial, now Instant) error {
	a, errA := judge(t.a.answers, now)
	b, errB := judge(t.b.answers, now)
	if err := cmp.Or(errA, errB); err != nil {
		return err
	}
	al, ok := Align(a.Offsets(now), b.Offsets(now))
	if !ok {
		return fmt.Errorf("no common server in %v and %v", a.Servers, b.Servers)
	}
	off := (al.Difference() - t.difference).Abs()
	o.errors = append(o.errors, off)
	o.averaged = append(o.averaged, (t.b.averaged - t.a.averaged - t.difference).Abs())
	o.uncertainties = append(o.uncertainties, al.Uncertainty)
	if off > al.Bound {
		o.outOfBound++
	}
	if off > al.Uncertainty {
		o.outOfUncertainty++
	}
	return nil
}

func TestPairDifferenceIsPreciseAndItsErrorHonest(t *testing.T) {
	const trials, seed = 2000, 5905
	for _, p := range networks {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			var o outcome
			for range trials {
				if err := o.add(p.trial(r), Instant(time.Second)); err != nil {
					t.Fatal(err)
				}
			}
			p95, other := percentile(o.errors, .95), percentile(o.averaged, .95)
			typical := percentile(o.uncertainties, .5)
			better, padding := float64(other)/float64(p95), float64(typical)/float64(p95)
			covered := 1 - float64(o.outOfUncertainty)/trials
			t.Logf("seed %d: error p50 %v, p95 %v; averaging arrivals p95 %v: %.1f×; uncertainty p50 %v, p95 %v: %.2f× the error's p95, holds the truth in %.2f %%", seed,
				percentile(o.errors, .5), p95, other, better, typical, percentile(o.uncertainties, .95), padding, covered*100)
			if o.outOfBound > 0 {
				t.Errorf("%d of %d truths lie outside of the certain bound", o.outOfBound, trials)
			}
			if covered < .99 {
				t.Errorf("the truth lies inside the uncertainty in %.2f %%, want 99 %%", covered*100)
			}
			if padding > 3 {
				t.Errorf("the uncertainty is %.2f times the error's p95, want at most 3", padding)
			}
			if better < p.atLeastP2P {
				t.Errorf("%.1f times better than averaging arrivals, want %v", better, p.atLeastP2P)
			}
		})
	}
}

func BenchmarkJudge(b *testing.B) {
	t := networks[1].trial(rand.New(rand.NewPCG(1, 0)))
	for b.Loop() {
		judge(t.a.answers, Instant(time.Second))
	}
}

func BenchmarkAlign(b *testing.B) {
	t := networks[1].trial(rand.New(rand.NewPCG(1, 0)))
	now := Instant(time.Second)
	low, _ := judge(t.a.answers, now)
	high, _ := judge(t.b.answers, now)
	l, h := low.Offsets(now), high.Offsets(now)
	for b.Loop() {
		Align(l, h)
	}
}
