package lab

import (
	"slices"
	"testing"
)

func TestBenchRoundsHoldAllLaunches(t *testing.T) {
	for _, launches := range []int{1, 19, 20, 57, 500, 503} {
		sum := 0
		rounds := BenchConfig{Launches: launches}.rounds()
		for _, n := range rounds {
			sum += n
		}
		if sum != launches || len(rounds) > benchRounds {
			t.Errorf("%d launches became %v", launches, rounds)
		}
	}
}

func TestBenchTallyComparesTheTwoSidesOfEachLaunch(t *testing.T) {
	at := func(late int64) BenchShot { return BenchShot{Variant: "real-time", Late: &late} }
	timer := func(late int64) BenchShot { return BenchShot{Variant: "timer", Late: &late} }
	tally := newBenchTally()
	err := tally.add([]BenchShot{timer(1000), at(10), at(20), {Variant: "real-time"}},
		[]BenchShot{timer(4000), at(13), at(15), at(40)})
	if err != nil {
		t.Fatal(err)
	}
	results := tally.condition(2).Variants
	i := slices.IndexFunc(results, func(r BenchResult) bool { return r.Variant == "real-time" })
	r := results[i]
	if *r.Lateness.P50 != 15 || *r.Lateness.Max != 40 || *r.Skew.Max != 5 || *r.Skew.P50 != 3 || r.Missed != 1 || *r.Ratio != 100 {
		t.Errorf("got %+v with lateness %d to %d and skew up to %d", r, *r.Lateness.P50, *r.Lateness.Max, *r.Skew.Max)
	}
	if nice := results[2]; nice.Lateness.P50 != nil || nice.Ratio != nil {
		t.Errorf("got %+v of a variant that was not launched, want nothing", nice)
	}
	if err := tally.add([]BenchShot{at(1)}, nil); err == nil {
		t.Error("sides that do not belong together were compared")
	}
}

func TestBurstQuotientsAreOfMedians(t *testing.T) {
	d := BurstDocument{BurstTimes: BurstTimes{Elapsed: map[string][]int64{
		"unprepared": {90, 80, 1}, "bare": {40, 40, 40}, "prepared": {20, 20, 900}, "sendmmsg": {10, 9, 11}}}}
	d.conclude()
	if d.UnpreparedToPrepared != 4 || d.BareToPrepared != 2 || d.PreparedToSendmmsg != 2 {
		t.Errorf("got %+v", d)
	}
}
