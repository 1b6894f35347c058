package timing

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// sampleWith is a sample of this offset and delay, taken now.
func sampleWith(offset, delay time.Duration) Sample {
	return Sample{T1: at(0), T2: at(offset + delay/2), T3: at(offset + delay/2), T4: at(delay), Stamped: true, Stratum: 1}
}

func answerWith(name string, samples ...Sample) answer { return answer{name: name, samples: samples} }

func verdicts(e Estimate) string {
	var words []string
	for _, s := range e.Servers {
		words = append(words, s.Verdict.String())
	}
	return strings.Join(words, " ")
}

func TestJudgementOfServers(t *testing.T) {
	good := func(name string, offset, delay time.Duration) answer {
		return answerWith(name, sampleWith(offset, delay))
	}
	silent := answer{name: "d", err: errors.New("no reply")}
	kiss := answer{name: "d", err: &KissError{"DENY"}}
	kissed := answer{name: "d", err: &KissError{"DENY"}, samples: []Sample{sampleWith(0, 0)}}
	rated := answer{name: "d", err: &KissError{"RATE"}, samples: []Sample{sampleWith(0, 0)}}
	lost := answer{name: "d", err: ErrUnsynchronised}
	for _, c := range []struct {
		name    string
		answers []answer
		want    string
		offset  time.Duration
		err     error
	}{
		{"one server", []answer{good("a", ms, 2*ms)}, "truechimer", ms, nil},
		{"weights of 1/λ²", []answer{good("a", 3*ms, 20*ms), good("b", ms, 2*ms), good("c", 0, 8*ms)}, "truechimer truechimer truechimer", 960 * us, nil}, // (3/100 + 1 + 0) / (1/100 + 1 + 1/16) ms
		{"one lies", []answer{good("a", 0, 2*ms), good("b", time.Hour, ms), good("c", ms, 4*ms)}, "truechimer falseticker truechimer", 200 * us, nil},     // (0 + 1/4) / (1 + 1/4) ms
		{"two contradict", []answer{good("a", 0, 2*ms), good("b", time.Hour, ms)}, "unknown unknown", 0, ErrNoMajority},
		{"two pairs contradict", []answer{good("a", 0, 2*ms), good("b", 0, 2*ms), good("c", time.Hour, ms), good("d", time.Hour, ms)}, "unknown unknown unknown unknown", 0, ErrNoMajority},
		{"the rest is silent", []answer{good("a", ms, 2*ms), silent}, "truechimer unreachable", ms, nil},
		{"refused at once", []answer{good("a", ms, 2*ms), kiss}, "truechimer kiss-of-death", ms, nil},
		{"refused later: not believed", []answer{good("a", ms, 2*ms), kissed}, "truechimer kiss-of-death", ms, nil},
		{"asked to slow down: believed", []answer{good("a", 0, 2*ms), rated}, "truechimer truechimer", 0, nil},
		{"does not know the time", []answer{good("a", ms, 2*ms), lost}, "truechimer unsynchronised", ms, nil},
		{"nobody", []answer{silent, lost}, "unreachable unsynchronised", 0, ErrNoAnswer},
		{"nobody asked", nil, "", 0, ErrNoAnswer},
	} {
		e, err := judge(c.answers, 0)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error: got %v, want %v", c.name, err, c.err)
		}
		if got := verdicts(e); got != c.want {
			t.Errorf("%s: verdicts: got %s, want %s", c.name, got, c.want)
		}
		if (e.Offset - c.offset).Abs() > us { // drift and precision widen λ a little
			t.Errorf("%s: offset: got %v, want %v", c.name, e.Offset, c.offset)
		}
	}
}

func TestLeastDelaySampleCounts(t *testing.T) {
	e, err := judge([]answer{answerWith("a", sampleWith(7*ms, 20*ms), sampleWith(ms, 2*ms), sampleWith(-5*ms, 14*ms))}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if e.Offset != ms || e.Delay != 2*ms || e.Servers[0].Samples != 3 {
		t.Errorf("got offset %v, delay %v of %d samples, want 1ms, 2ms of 3", e.Offset, e.Delay, e.Servers[0].Samples)
	}
	// ψ = √((6² + 0 + 6²)/2) ms = 6 ms
	if e.Jitter == nil || *e.Jitter != 6*ms {
		t.Errorf("jitter: got %v, want 6ms", e.Jitter)
	}
	if e.Uncertainty > e.Bound {
		t.Errorf("uncertainty %v exceeds the bound %v", e.Uncertainty, e.Bound)
	}
}

func TestFrequencyIsKnownOnlyOverALongTime(t *testing.T) {
	first, last := sampleWith(0, ms), sampleWith(10*ms, ms)
	last.Destination = first.Destination.Add(50 * time.Second)
	if got := frequency([]Sample{first, last}); got != nil {
		t.Errorf("with a doubt of 20 ppm: got %v, want nil", *got)
	}
	last.Destination = first.Destination.Add(1000 * time.Second)
	if got := frequency([]Sample{first, last}); got == nil || *got < 9.99 || *got > 10.01 {
		t.Errorf("10 ms in 1000 s: got %v, want 10 ppm", got)
	}
	if got := frequency([]Sample{first}); got != nil {
		t.Errorf("one sample: got %v, want nil", *got)
	}
}

func TestEstimateMarshalsUnknownAsNull(t *testing.T) {
	e, _ := judge([]answer{answerWith("a", sampleWith(ms, 2*ms)), {name: "b", err: errors.New("no reply")}}, 0)
	e.Servers[0].Verdict = VerdictUnknown
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"offset_ns":1000000,"bound_ns":1000045,"uncertainty_ns":500027,"delay_ns":2000000,"jitter_ns":null,"frequency_ppm":null,"stepped":false,"servers":[` +
		`{"address":"a","name":"a","stratum":1,"offset_ns":1000000,"bound_ns":1000045,"uncertainty_ns":500026,"delay_ns":2000000,"root_distance_ns":1000045,"age_ns":0,"samples":1,"verdict":null,"error":null},` +
		`{"address":"b","name":"b","stratum":null,"offset_ns":null,"bound_ns":null,"uncertainty_ns":null,"delay_ns":null,"root_distance_ns":null,"age_ns":null,"samples":0,"verdict":"unreachable","error":"no reply"}]}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var back Estimate
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if again, _ := json.Marshal(back); string(again) != want {
		t.Errorf("read back: got %s", again)
	}
}

func TestEstimateMapsReferenceTimeToInstants(t *testing.T) {
	f := &fakeClocks{reading{mono: 1000, wall: at(0)}}
	c := newClock(time.Hour, 0, f.read, awake)
	e := Estimate{Offset: -time.Hour + ms}
	want := Instant(1000).Add(5 * time.Second)
	if got := e.Instant(c, at(5*time.Second+ms)); got != want {
		t.Errorf("instant: got %v, want %v", got, want)
	}
	if got := e.Reference(c, want); !got.Equal(at(5*time.Second + ms)) {
		t.Errorf("reference: got %v, want %v", got, at(5*time.Second+ms))
	}
}
