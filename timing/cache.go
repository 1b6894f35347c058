package timing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Cache keeps on disk what public servers said, so that a program that runs
// often asks them seldom: their samples for half an hour, a RATE for as long as
// it asks for silence, a DENY or RSTR for a day. The bound of an old sample
// grows by PHI as always. Samples are tied to CLOCK_MONOTONIC and are worth
// nothing after a reboot or a suspension, or in another time namespace; on
// platforms other than Linux nothing is kept. A cache that cannot be read or
// written is as good as none. The zero value keeps nothing.
type Cache struct {
	Dir string // is made where it is missing
}

// Lifetimes of what the cache holds.
const (
	cacheSamples = 30 * time.Minute
	cacheRefusal = 24 * time.Hour
)

// NTP is the source of the function NTP with the cache in front of it.
// Private servers are never cached.
func (c Cache) NTP(server string, clock *Clock) Source {
	origin := NTP(server, clock).(*ntpSource)
	boot := bootKey()
	if c.Dir == "" || boot == "" {
		return origin
	}
	return &cachedSource{origin: origin, clock: clock, boot: boot, file: filepath.Join(c.Dir, url.PathEscape(server)+".json")}
}

// publicSource is what the cache stands in front of.
type publicSource interface {
	Source
	paced
	leaper
	public() bool
}

// cachedSource replays kept samples, or else asks the origin and keeps what a
// public server says.
type cachedSource struct {
	origin publicSource
	clock  *Clock
	boot   string
	file   string

	mu       sync.Mutex
	loaded   bool
	entry    cacheEntry
	replayed int // samples of the entry
	replay   bool
}

// cacheEntry is the file's content, which is nobody else's.
type cacheEntry struct {
	Boot    string
	Asleep  time.Duration // Clock.Suspended then
	Samples []keptSample
	Smeared bool
	Kiss    string
	Until   Instant // end of the silence that Kiss asks for
}

// keptSample is a Sample without the local timescale, which ends with the
// process.
type keptSample struct {
	Server         string
	At             Instant
	Reference      time.Time // the server's time at At
	Delay          time.Duration
	Precision      time.Duration
	Stamped        bool
	Stratum        int
	RootDelay      time.Duration
	RootDispersion time.Duration
}

func keep(s Sample) keptSample {
	return keptSample{s.Server, s.Destination, s.T4.Add(s.Offset()).UTC(), s.Delay(), s.Precision, s.Stamped, s.Stratum, s.RootDelay, s.RootDispersion}
}

// sample has the offset and the delay of the one that was kept.
func (k keptSample) sample(clock *Clock) Sample {
	t4 := clock.At(k.At)
	middle := k.Reference.Add(-k.Delay / 2)
	return Sample{
		Server: k.Server, T1: t4.Add(-k.Delay), T2: middle, T3: middle, T4: t4,
		Destination: k.At, Precision: k.Precision + 2, // halves are rounded
		Stamped: k.Stamped, Stratum: k.Stratum, RootDelay: k.RootDelay, RootDispersion: k.RootDispersion,
	}
}

func (s *cachedSource) Name() string { return s.origin.Name() }

func (s *cachedSource) leap() leapStyle {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replay && s.entry.Smeared {
		return leapSmeared
	}
	return s.origin.leap()
}

func (s *cachedSource) pace() (samples int, spacing time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replay {
		return len(s.entry.Samples), 0
	}
	return s.origin.pace()
}

func (s *cachedSource) Sample(ctx context.Context) (Sample, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := Now()
	if !s.loaded {
		s.load(now)
	}
	if s.entry.Kiss != "" && now < s.entry.Until {
		return Sample{}, &KissError{Code: s.entry.Kiss}
	}
	if s.replay && s.current(now) {
		s.replayed++
		return s.entry.Samples[(s.replayed-1)%len(s.entry.Samples)].sample(s.clock), nil
	}
	if s.replay {
		s.replay, s.entry.Samples = false, nil
	}
	sample, err := s.origin.Sample(ctx)
	s.learn(sample, err)
	return sample, err
}

// load takes the file, if it is of this boot and holds something current.
func (s *cachedSource) load(now Instant) {
	s.loaded = true
	var e cacheEntry
	body, err := os.ReadFile(s.file)
	if err != nil || json.Unmarshal(body, &e) != nil || e.Boot != s.boot {
		return
	}
	s.entry = e
	if !s.current(now) {
		s.entry.Samples = nil
	}
	s.replay = len(s.entry.Samples) > 0
}

// current reports whether the kept samples still count.
func (s *cachedSource) current(now Instant) bool {
	if (s.clock.Suspended() - s.entry.Asleep).Abs() > suspendTolerance {
		return false
	}
	for _, k := range s.entry.Samples {
		if age := now.Sub(k.At); age < 0 || age > cacheSamples {
			return false
		}
	}
	return true
}

// learn keeps what a public server said.
func (s *cachedSource) learn(sample Sample, err error) {
	if !s.origin.public() {
		return
	}
	var kiss *KissError
	switch {
	case errors.As(err, &kiss):
		s.entry.Kiss, s.entry.Until = kiss.Code, Now().Add(cacheRefusal)
		if kiss.Code == "RATE" {
			s.entry.Until = Now().Add(rateSilence)
		}
	case err != nil:
		return
	default:
		s.entry.Samples = append(s.entry.Samples, keep(sample))
		s.entry.Samples = s.entry.Samples[max(0, len(s.entry.Samples)-publicSamples):]
		s.entry.Kiss = ""
	}
	s.entry.Boot, s.entry.Asleep, s.entry.Smeared = s.boot, s.clock.Suspended(), s.origin.leap() == leapSmeared
	s.save() // without it the next run asks again, no more
}

// save replaces the file in one step.
func (s *cachedSource) save() error {
	body, err := json.Marshal(s.entry)
	if err != nil {
		return fmt.Errorf("encode time cache: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		return fmt.Errorf("keep time cache: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(s.file), ".*.new")
	if err != nil {
		return fmt.Errorf("keep time cache: %w", err)
	}
	_, err = f.Write(append(body, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.file)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("keep time cache: %w", err)
	}
	return nil
}
