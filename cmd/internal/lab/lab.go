// Package lab answers the question under which conditions a meeting works: it
// builds a whole internet of two clients, their NATs, a coordinator and a time
// server on this machine, lets them meet, and compares what they say with what
// it knows.
//
// Read profile.go for what a side may be, scenario.go for how two profiles
// become a network (a pure value), build_linux.go for how the kernel gets it,
// trial_linux.go for one meeting in it, and supervisor.go for who owns all
// processes. Nodes are this same binary, run through its public commands, so
// nothing here knows how a meeting is done.
//
// Hazards: a namespace belongs to a thread, so no general Go code runs inside
// one; every node is a child process. Everything that needs the kernel must run
// in the supervisor (see Enter), whose death ends all nodes and namespaces.
package lab

import (
	"fmt"
	"time"
)

// Unavailable says that this machine does not allow the lab: what is missing,
// and the command that mends it.
type Unavailable struct {
	Missing string // one sentence
	Mend    string // a command, or what to change; may be empty
	Err     error  // the system call's error; may be nil
}

func (u *Unavailable) Error() string {
	if u.Err == nil {
		return u.Missing
	}
	return fmt.Sprintf("%s (%v)", u.Missing, u.Err)
}

func (u *Unavailable) Unwrap() error { return u.Err }

// Crash is a node that did not do its work at all: whatever it was to measure
// was not measured.
type Crash struct {
	Node   string
	What   string
	Stderr string // the last it said
	Status int    // its exit status; -1 after a signal
}

func (c *Crash) Error() string {
	text := c.Node + " " + c.What
	if c.Stderr != "" {
		text += "; it said: " + c.Stderr
	}
	return text
}

// Config says what network to build and how the two clients shall meet in it.
// The zero value is a meeting of two public hosts without delay.
type Config struct {
	A, B   Profile
	Delay  time.Duration // one way between any two hosts
	Jitter time.Duration // at most this much more or less, for each packet
	Loss   float64       // share of packets that are lost, 0 to 1

	SkewA, SkewB time.Duration // how wrong each client's clock is
	LateB        time.Duration // B launches this much after the agreed instant
	NoSync       bool          // the clients trust their wrong clocks
	Retries      int           // further attempts; below 0: the command's default
	Budget       int           // SYNs; 0: the command's default
	Timeout      time.Duration // of the meeting; 0: the command's default
	Strategy     string        // "": the command's default
	LowTTL       int           // of the SYNs that die; 0: what the command finds
	Transport    string        // "": the command's default
	ResidualA    time.Duration // A compares the clocks wrongly by this, and says so in the bound

	Busy     int    // processes that keep processors busy meanwhile
	Trials   int    // meetings, each in a network of its own; 0: one
	Parallel int    // meetings at a time; 0: two
	Keep     string // directory for the files of every trial; "": not kept

	roughly bool // what the core is late by when it does not spin decides nothing
	burst   int  // packets that the core holds at most until it reads them; 0: netlab's default
}

// sides are the profiles that count: where one puts both clients behind its box,
// that of the other does not matter.
func (c Config) sides() (a, b Profile) {
	switch {
	case c.A.Shared:
		return c.A, c.A
	case c.B.Shared:
		return c.B, c.B
	}
	return c.A, c.B
}

// The clock errors of a lab in which nothing else is asked for: wrong enough
// that no meeting works by luck.
const (
	DefaultSkewA = 137 * time.Millisecond
	DefaultSkewB = -59 * time.Millisecond
	DefaultDelay = 20 * time.Millisecond
)
