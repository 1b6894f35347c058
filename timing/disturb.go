package timing

import (
	"fmt"
	"time"
)

// Disturbance is what has happened to a machine's clocks.
type Disturbance struct {
	// Step is how far the wall clock was set forward. The local timescale runs
	// on unharmed; what the kernel stamped with the wall clock is off by it.
	Step time.Duration
	// Suspend is how long the machine was suspended. The local timescale has
	// stood still meanwhile, so that no earlier offset or instant holds.
	Suspend time.Duration
}

// Any reports whether there was a disturbance at all.
func (d Disturbance) Any() bool { return d != Disturbance{} }

// String says what happened in a clause, such as "the wall clock was set 500ms
// forward".
func (d Disturbance) String() string {
	step := fmt.Sprintf("the wall clock was set %v forward", d.Step)
	if d.Step < 0 {
		step = fmt.Sprintf("the wall clock was set %v back", -d.Step)
	}
	suspend := fmt.Sprintf("the machine was suspended for %v", d.Suspend)
	switch {
	case d.Step != 0 && d.Suspend != 0:
		return suspend + " and " + step
	case d.Suspend != 0:
		return suspend
	case d.Step != 0:
		return step
	}
	return "nothing has disturbed the clocks"
}

// mark is the state of the clocks from which disturbances count.
type mark struct {
	at     Instant
	step   time.Duration // Clock.Step then
	asleep time.Duration
}

// Mark begins a new measurement: Check counts from here. Sync does it when it
// begins.
func (c *Clock) Mark() {
	c.mark.Store(&mark{at: c.read().mono, step: c.Step(), asleep: c.Suspended()})
}

// Check tells what has disturbed the clocks since Mark, or since the last Sync
// or Track.Update with this clock began. It takes some microseconds and suits
// the last moment before a launch. Where the platform does not tell of
// suspensions (all but Linux) they show as steps forward.
func (c *Clock) Check() Disturbance {
	m := c.mark.Load()
	suspend := c.Suspended() - m.asleep
	if suspend < suspendTolerance {
		suspend = 0
	}
	// The wall clock goes on in a suspension, which is no step.
	step := c.Step() - m.step - suspend
	if step.Abs() <= stepTolerance(c.read().mono.Sub(m.at)) {
		step = 0
	}
	return Disturbance{Step: step, Suspend: suspend}
}

// Suspended is how long the machine was suspended since it started, where the
// platform tells: how far CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC.
func (c *Clock) Suspended() time.Duration {
	return c.asleep() + time.Duration(c.injectedSuspend.Load())
}

// Disturb makes the clocks of this process look, and in the case of a
// suspension be, disturbed. It is for experiments.
func (c *Clock) Disturb(d Disturbance) {
	c.injectedStep.Add(int64(d.Step))
	c.injectedSuspend.Add(int64(d.Suspend))
}

// Readings of two clocks are right to some microseconds, on a busy machine to
// some hundred; neither a step nor a suspension of less than 1 ms matters.
const suspendTolerance = time.Millisecond

// stepTolerance is what the adjustment of the clocks' rates explains.
func stepTolerance(age time.Duration) time.Duration {
	return time.Millisecond + age/1e6*maxSlewPPM
}
