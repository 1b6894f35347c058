package timing

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// publicServer is a source that says what a public server would.
type publicServer struct {
	offset time.Duration // against the wall clock
	err    error
	local  bool
	asked  int
	clock  *Clock
}

func (p *publicServer) Name() string               { return "public.example" }
func (p *publicServer) public() bool               { return !p.local }
func (p *publicServer) leap() leapStyle            { return leapStepped }
func (p *publicServer) pace() (int, time.Duration) { return publicSamples, 0 }

func (p *publicServer) Sample(context.Context) (Sample, error) {
	p.asked++
	if p.err != nil {
		return Sample{}, p.err
	}
	now := Now()
	t4 := p.clock.At(now)
	middle := t4.Add(p.offset - ms)
	return Sample{Server: "8.8.8.8:123", T1: t4.Add(-2 * ms), T2: middle, T3: middle, T4: t4, Destination: now, Precision: us, Stratum: 2, RootDelay: ms, RootDispersion: ms}, nil
}

// ranOnce is a source as a new process would have it.
func ranOnce(file string, p *publicServer, boot string) *cachedSource {
	return &cachedSource{origin: p, clock: p.clock, boot: boot, file: file}
}

func TestCacheSparesPublicServersInTheNextRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "time", "public.json")
	p := &publicServer{offset: 42 * ms, clock: NewClock(0, 0)}
	first, err := Sync(t.Context(), p.clock, []Source{ranOnce(file, p, "boot")}, 8, 0)
	if err != nil || p.asked != publicSamples {
		t.Fatalf("asked %d times, %v, want %d", p.asked, err, publicSamples)
	}
	// The next process has a timescale of its own, an hour wrong, and finds
	// answers a minute old.
	p.clock = NewClock(time.Hour, 0)
	next := ranOnce(file, p, "boot")
	next.load(Now())
	for i := range next.entry.Samples {
		kept := &next.entry.Samples[i]
		kept.At, kept.Reference = kept.At.Add(-time.Minute), kept.Reference.Add(-time.Minute)
	}
	again, err := Sync(t.Context(), p.clock, []Source{next}, 8, 0)
	if err != nil || p.asked != publicSamples {
		t.Fatalf("asked %d times in all, %v, want %d", p.asked, err, publicSamples)
	}
	if d := (again.Offset + time.Hour - first.Offset).Abs(); d > 200*us {
		t.Errorf("offset: got %v and then %v against an hour more", first.Offset, again.Offset)
	}
	if again.Bound <= first.Bound || again.Servers[0].Samples != publicSamples || *again.Servers[0].Age < time.Minute {
		t.Errorf("the bound did not grow with age: %+v, then %+v", first.Servers[0], again.Servers[0])
	}
}

func TestCacheForgetsWhatIsNoLongerTrue(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(p *publicServer, s *cachedSource)
		asked int
	}{
		{"nothing", func(*publicServer, *cachedSource) {}, 0},
		{"a reboot", func(_ *publicServer, s *cachedSource) { s.boot = "other" }, 1},
		{"a suspension", func(p *publicServer, _ *cachedSource) { p.clock.Disturb(Disturbance{Suspend: time.Second}) }, 1},
		{"broken file", func(_ *publicServer, s *cachedSource) { os.WriteFile(s.file, []byte("{"), 0o600) }, 1},
		{"half an hour", func(_ *publicServer, s *cachedSource) {
			s.load(Now())
			s.entry.Samples[0].At = s.entry.Samples[0].At.Add(-cacheSamples)
		}, 1},
	} {
		file := filepath.Join(t.TempDir(), "x.json")
		p := &publicServer{clock: NewClock(0, 0)}
		if _, err := ranOnce(file, p, "boot").Sample(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.asked = 0
		s := ranOnce(file, p, "boot")
		c.spoil(p, s)
		if _, err := s.Sample(t.Context()); err != nil || p.asked != c.asked {
			t.Errorf("%s: asked %d times, %v, want %d", c.name, p.asked, err, c.asked)
		}
	}
}

func TestCacheRemembersRefusals(t *testing.T) {
	for _, code := range []string{"RATE", "DENY", "RSTR"} {
		file := filepath.Join(t.TempDir(), "x.json")
		p := &publicServer{clock: NewClock(0, 0), err: &KissError{Code: code}}
		ranOnce(file, p, "boot").Sample(t.Context())
		p.err = nil
		s := ranOnce(file, p, "boot")
		_, err := s.Sample(t.Context())
		var kiss *KissError
		if !errors.As(err, &kiss) || kiss.Code != code || p.asked != 1 {
			t.Errorf("%s: asked %d times, %v, want no second request", code, p.asked, err)
		}
		s.entry.Until = Now()
		if _, err := s.Sample(t.Context()); err != nil {
			t.Errorf("%s: after the silence: %v", code, err)
		}
	}
}

func TestPrivateServersAreNotCached(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.json")
	p := &publicServer{clock: NewClock(0, 0), local: true}
	ranOnce(file, p, "boot").Sample(t.Context())
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want no file", err)
	}
}

func TestUnwritableCacheIsAsGoodAsNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &publicServer{clock: NewClock(0, 0)}
	if _, err := ranOnce(filepath.Join(file, "x.json"), p, "boot").Sample(t.Context()); err != nil {
		t.Error(err)
	}
}
