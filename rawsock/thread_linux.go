package rawsock

import (
	"errors"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// thread is the calling thread's scheduling: how it was, and how far it could
// be raised. All of it is the thread's own (setpriority(2): "in the current
// Linux/NPTL implementation the nice value is a per-thread attribute").
type thread struct {
	before  *unix.SchedAttr // nil where it was not changed
	slack   uintptr         // nanoseconds before; 0 where it was not changed
	locked  bool            // memory
	reached Privileges
}

// highestNice and lowestRealTime are the ends that are asked for: any real-time
// priority comes before all ordinary threads.
const (
	highestNice    = -20
	lowestRealTime = 1
)

// prepare raises the thread step by step up to limit. The slack comes first,
// since a real-time thread has none and takes none.
func (t *thread) prepare(limit Step) {
	if limit == StepUnknown {
		limit = StepRealTime
	}
	t.reached.Step = StepSpin
	t.sharpen()
	before, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return
	}
	t.reached.Nice = int(before.Nice)
	t.reached.FIFO = before.Policy == unix.SCHED_FIFO
	if limit >= StepRealTime && t.raise(before, fifo(before)) {
		t.reached.Step, t.reached.FIFO, t.reached.TimerSlack = StepRealTime, true, 0
		t.locked = lockMemory()
		t.reached.MemoryLocked = t.locked
		return
	}
	short := *before
	short.Runtime = shortSlice
	t.raise(before, short)
	if limit >= StepNice {
		t.raiseNice(before, short)
	}
}

// shortSlice is the least time slice that an ordinary thread may ask for, in
// nanoseconds. Since Linux 6.12 a thread that wakes with a shorter slice than
// that of the running one need not wait for the end of that; before, it is
// ignored (sched_setattr(2)). It takes no privilege.
const shortSlice = 100_000

// sharpen makes the thread's timers exact; ordinary threads sleep up to 50 µs
// longer than they ask for.
func (t *thread) sharpen() {
	old, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return
	}
	t.reached.TimerSlack = time.Duration(old)
	if old > 1 && unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) == nil {
		t.slack, t.reached.TimerSlack = uintptr(old), 1
	}
}

// fifo asks for SCHED_FIFO. What the thread forks is ordinary again.
func fifo(before *unix.SchedAttr) unix.SchedAttr {
	return unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: lowestRealTime,
		Flags: before.Flags | unix.SCHED_FLAG_RESET_ON_FORK}
}

func (t *thread) raise(before *unix.SchedAttr, to unix.SchedAttr) bool {
	if unix.SchedSetAttr(0, &to, 0) != nil {
		return false
	}
	t.before = before
	return true
}

// raiseNice asks for the best, and else for what RLIMIT_NICE allows:
// 20 minus the limit (getrlimit(2)).
func (t *thread) raiseNice(before *unix.SchedAttr, to unix.SchedAttr) {
	best := []int32{highestNice}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NICE, &limit) == nil && limit.Cur > 0 && limit.Cur < 40 {
		best = append(best, 20-int32(limit.Cur))
	}
	for _, nice := range best {
		to.Nice = nice
		if nice < before.Nice && t.raise(before, to) {
			t.reached.Step, t.reached.Nice = StepNice, int(nice)
			return
		}
	}
	if before.Nice < 0 {
		t.reached.Step = StepNice
	}
}

// restore undoes all of it. To clear the flag that resets on fork takes the
// privilege by which it was set; without, the flag stays.
func (t *thread) restore() error {
	if t.locked {
		unlockMemory()
	}
	if t.before != nil {
		err := unix.SchedSetAttr(0, t.before, 0)
		if errors.Is(err, unix.EPERM) {
			flagged := *t.before
			flagged.Flags |= unix.SCHED_FLAG_RESET_ON_FORK
			err = unix.SchedSetAttr(0, &flagged, 0)
		}
		if err != nil {
			return os.NewSyscallError("sched_setattr", err)
		}
	}
	if t.slack != 0 {
		return os.NewSyscallError("prctl PR_SET_TIMERSLACK", unix.Prctl(unix.PR_SET_TIMERSLACK, t.slack, 0, 0, 0))
	}
	return nil
}

// memory and collector belong to the process, so that the Launchpads in it
// share them: the first changes and the last restores.
var memory, collector shared

type shared struct {
	sync.Mutex
	users  int
	was    int         // collector: GOGC
	linger *time.Timer // unlocks the memory, or starts the collector again
}

// endLinger keeps the state for a new user. A timer that has fired already
// finds that there is one.
func (s *shared) endLinger() {
	if s.linger != nil {
		s.linger.Stop()
		s.linger = nil
	}
}

// lockLingers is how long memory stays locked after its last user. To lock or
// unlock it takes a millisecond in which no other thread can touch a new page,
// and just after a launch there is no time for that; nor between two.
const lockLingers = time.Second

// quietLingers is how long the collector rests after its last user. It has
// work to catch up with, several milliseconds on a machine with one processor,
// and the connection that was launched comes first.
const quietLingers = 250 * time.Millisecond

// lockMemory locks the pages that are present, and those that are mapped now
// when they are first touched. Without MCL_ONFAULT all of the heap's reserve
// would be brought in; without MCL_FUTURE nothing can fail later for the limit.
func lockMemory() bool {
	memory.Lock()
	defer memory.Unlock()
	if memory.users == 0 && memory.linger == nil {
		if memoryIsLocked() {
			return false // somebody else's business, and munlockall would undo it
		}
		if unix.Mlockall(unix.MCL_CURRENT|unix.MCL_ONFAULT) != nil {
			return false
		}
	}
	memory.users++
	memory.endLinger()
	return true
}

func unlockMemory() {
	memory.Lock()
	defer memory.Unlock()
	if memory.users--; memory.users == 0 {
		memory.linger = time.AfterFunc(lockLingers, unlockIdleMemory)
	}
}

func unlockIdleMemory() {
	memory.Lock()
	defer memory.Unlock()
	if memory.users == 0 {
		unix.Munlockall()
	}
	memory.linger = nil
}

// memoryIsLocked reads VmLck (proc(5)).
func memoryIsLocked() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, rest, found := strings.Cut(string(status), "VmLck:")
	size, _, _ := strings.Cut(rest, "\n")
	return found && strings.TrimSpace(size) != "0 kB"
}

// hush stops the garbage collector and waits for it to end.
func (p *Launchpad) hush() {
	if p.quiet {
		return
	}
	p.quiet = true
	collector.Lock()
	defer collector.Unlock()
	if collector.users == 0 && collector.linger == nil {
		collector.was = debug.SetGCPercent(-1)
	}
	collector.users++
	collector.endLinger()
}

// speak undoes hush.
func (p *Launchpad) speak() {
	if !p.quiet {
		return
	}
	p.quiet = false
	collector.Lock()
	defer collector.Unlock()
	if collector.users--; collector.users == 0 {
		collector.linger = time.AfterFunc(quietLingers, endQuiet)
	}
}

func endQuiet() {
	collector.Lock()
	defer collector.Unlock()
	if collector.users == 0 {
		debug.SetGCPercent(collector.was)
	}
	collector.linger = nil
}
