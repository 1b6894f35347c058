package rawsock

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Shot is one connect() of a launch, or one volley of crafted segments.
type Shot struct {
	Socket *Socket
	Remote netip.AddrPort
	Volley *Volley       // where set, it is sent, and Socket and Remote do not count
	After  time.Duration // after the instant of the launch; never less than that of the shot before
}

// Fired tells what became of a Shot. Before and After are readings of
// CLOCK_MONOTONIC in nanoseconds around the system call, both 0 where it was
// not reached. Ahead is by how many nanoseconds the call was meant to begin
// before the instant, since a SYN takes some microseconds through the kernel;
// so it leaves at about Before+Ahead. Err is as of [Socket.Connect] or
// [Sender.Send].
type Fired struct {
	Before, After int64
	Ahead         int64
	Err           error
}

// Step is how far a thread could be prepared for an instant. The steps are in
// the order of what they are worth; each includes those before it.
type Step uint8

const (
	StepUnknown  Step = iota
	StepSpin          // the thread is locked, its timers exact, the collector quiet, and it spins
	StepNice          // and its priority is above the ordinary
	StepRealTime      // and it is scheduled as SCHED_FIFO, which only interrupts disturb
)

var stepNames = [...]string{"unknown", "spin", "nice", "real-time"}

// String is "unknown", "spin", "nice" or "real-time".
func (s Step) String() string {
	if int(s) < len(stepNames) {
		return stepNames[s]
	}
	return fmt.Sprintf("Step(%d)", uint8(s))
}

// MarshalText is String.
func (s Step) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Step) UnmarshalText(text []byte) error {
	for i, name := range stepNames {
		if name == string(text) {
			*s = Step(i)
			return nil
		}
	}
	return errors.New("not a step of preparation: " + string(text))
}

// Privileges is what the system granted to the thread of a Launchpad.
type Privileges struct {
	Step         Step          `json:"step"`
	FIFO         bool          `json:"fifo"`             // SCHED_FIFO at the lowest real-time priority
	Nice         int           `json:"nice"`             // where FIFO is false: −20, the best, to 19
	MemoryLocked bool          `json:"memory_locked"`    // what is in memory stays there
	Awake        bool          `json:"processors_awake"` // no processor slept in the last 30 ms before the instant
	TimerSlack   time.Duration `json:"timer_slack_ns"`
}

// LaunchConfig says how to prepare a thread. The zero value is the best that
// the system grants.
type LaunchConfig struct {
	Limit Step          // go no further than this; StepUnknown for no limit
	Lead  time.Duration // how long before the instant to spin, at most 3 ms; 0 for 2 ms in real time, else 1 ms
}

// Launched is what [Launch] did.
type Launched struct {
	Shots   []Fired
	Reached Privileges
}

const (
	// defaultLead is more than a wake-up from an idle processor's deepest
	// sleep takes, and than the kernel's tick.
	defaultLead = 2 * time.Millisecond
	// maxSpin bounds the spinning of one launch, so that a SCHED_FIFO thread
	// on a machine's only processor starves nothing.
	maxSpin = 3 * time.Millisecond
)

// ordinaryLead is that of an ordinary thread, which the scheduler takes from
// the processor the sooner the longer it spins.
const ordinaryLead = time.Millisecond

func (c LaunchConfig) lead(realTime bool) time.Duration {
	switch {
	case c.Lead > 0:
		return min(c.Lead, maxSpin)
	case realTime:
		return defaultLead
	}
	return ordinaryLead
}
