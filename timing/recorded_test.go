package timing

import (
	"flag"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"tcppunch/timing/timingtest"
)

var record = flag.Bool("record", false, "make the simulated files in testdata anew")

// The recorded sets. kernel.jsonl.gz comes from real kernels, by
// TestRecordExchangesThroughKernels of cmd/internal/lab; the others hold the
// first pairs of each simulated network, made by
//
//	go test ./timing -run Recorded -record
const (
	tunedSeed     = 5905
	heldOutSeed   = 1059
	freshSeed     = 8633
	recordedPairs = 20 // of each network
)

func recordedFile(name string) string { return filepath.Join("testdata", name+".jsonl.gz") }

func TestMakeRecordedSets(t *testing.T) {
	if !*record {
		t.Skip("makes files only with -record")
	}
	for _, set := range simulated {
		var list []timingtest.Recording
		for _, n := range set.networks {
			r := rand.New(rand.NewPCG(set.seed, 0))
			for range recordedPairs {
				list = append(list, n.trial(r).recording(n.name))
			}
		}
		if err := timingtest.WriteRecordings(recordedFile(set.name), list); err != nil {
			t.Fatal(err)
		}
	}
}

func (t trial) recording(network string) timingtest.Recording {
	return timingtest.Recording{Network: network, Difference: t.difference, Limit: t.limit, Public: t.public, A: exchanges(t.a), B: exchanges(t.b)}
}

func exchanges(answers []answer) []timingtest.Exchanges {
	var list []timingtest.Exchanges
	for _, a := range answers {
		first := a.samples[0]
		x := timingtest.Exchanges{Server: a.name, Dispersion: first.RootDispersion, Stamped: first.Stamped}
		for _, s := range a.samples {
			x.Samples = append(x.Samples, [3]int64{s.T1.Sub(first.T1).Microseconds(), s.forth().Microseconds(), s.back().Microseconds()})
		}
		list = append(list, x)
	}
	return list
}

// recordedTrial undoes recording. The readings are those of microsecond clocks.
func recordedTrial(r timingtest.Recording) trial {
	return trial{difference: r.Difference, limit: r.Limit, public: r.Public, a: answersOf(r.A), b: answersOf(r.B)}
}

func answersOf(list []timingtest.Exchanges) []answer {
	var answers []answer
	for _, x := range list {
		a := answer{name: x.Server}
		for _, s := range x.Samples {
			sent, forth, back := time.Duration(s[0])*us, time.Duration(s[1])*us, time.Duration(s[2])*us
			a.samples = append(a.samples, Sample{
				Server: x.Server, T1: at(sent), T2: at(sent + forth), T3: at(sent + forth), T4: at(sent + forth + back),
				Destination: Instant(sent + forth + back), Precision: 2 * us, Stamped: x.Stamped, Stratum: 1, RootDispersion: x.Dispersion,
			})
		}
		answers = append(answers, a)
	}
	return answers
}

// byNetwork are the outcomes of a recorded set.
func byNetwork(t *testing.T, file string) map[string]*outcome {
	t.Helper()
	list, err := timingtest.ReadRecordings(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatalf("%s holds no recording", file)
	}
	all := map[string]*outcome{}
	for _, r := range list {
		if all[r.Network] == nil {
			all[r.Network] = &outcome{}
		}
		if err := all[r.Network].add(recordedTrial(r)); err != nil {
			t.Fatalf("%s: %v", r.Network, err)
		}
	}
	return all
}

// The twenty pairs of a network are too few for its percentiles, so that all
// networks count together, each with its errors as shares of the other
// method's.
func TestRecordedSetsAreEstimatedPreciselyAndHonestly(t *testing.T) {
	for _, set := range simulated {
		var ours, theirs []float64
		outOfBound, outOfUncertainty := 0, 0
		for _, o := range byNetwork(t, recordedFile(set.name)) {
			f := o.figures()
			other := o.rival()
			for i, e := range o.errors {
				ours = append(ours, float64(e)/float64(f.rival))
				theirs = append(theirs, float64(other[i])/float64(f.rival))
			}
			outOfBound, outOfUncertainty = outOfBound+o.outOfBound, outOfUncertainty+o.outOfUncertainty
		}
		better := percentile(theirs, .95) / percentile(ours, .95)
		t.Logf("%s: %d pairs, %.1f times better; %d outside of the bound, %d of the uncertainty", set.name, len(ours), better, outOfBound, outOfUncertainty)
		if better < 4 {
			t.Errorf("%s: %.1f times better than averaging arrivals, want 4", set.name, better)
		}
		if outOfBound > 0 {
			t.Errorf("%s: %d of %d truths lie outside of the certain bound", set.name, outOfBound, len(ours))
		}
		if outOfUncertainty*100 > len(ours) {
			t.Errorf("%s: %d of %d truths lie outside of the uncertainty, want 1 %% at most", set.name, outOfUncertainty, len(ours))
		}
	}
}

func TestExchangesThroughKernelsAreEstimatedPreciselyAndHonestly(t *testing.T) {
	for name, o := range byNetwork(t, recordedFile("kernel")) {
		hold(t, network{name: name}, o)
	}
}
