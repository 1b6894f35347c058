package lab

import (
	"context"
	"fmt"
	"io"
	"os"
)

// A lab is one process, the supervisor, which is process 1 of a process
// namespace of its own, and everything else is its child or held by it: when it
// ends, in whatever way, the kernel ends every node, and with the last
// descriptor go the namespaces, links and rules. The process that the user
// started only carries streams, signals and the exit status to and fro; if it
// dies, the kernel kills the supervisor, and so does the end of a pipe between
// the two.

// Environment variables between the process that the user started and the
// supervisor.
const (
	envSupervisor = "TCPPUNCH_LAB_SUPERVISOR" // set in the supervisor
	envDirectory  = "TCPPUNCH_LAB_DIRECTORY"  // temporary files, removed by the starter
	envStarter    = "TCPPUNCH_LAB_STARTER"    // process id of the starter: the lab's name
)

// Ended says how a supervisor ended. It has printed its result itself, so the
// command has nothing to add but the status.
type Ended struct{ Status int }

func (e *Ended) Error() string { return fmt.Sprintf("the lab ended with status %d", e.Status) }

// Inside says whether this process is the supervisor.
func Inside() bool { return os.Getenv(envSupervisor) != "" && os.Getpid() == 1 }

// Supervise runs work in the supervisor. In the process that the user started
// it runs the same command line again as the supervisor and returns *Ended, or
// *Unavailable where this machine does not allow it; in the supervisor it runs
// work.
func Supervise(ctx context.Context, work func(context.Context) error) error {
	if !Inside() {
		return enter(ctx, os.Stdout)
	}
	if err := prepare(); err != nil {
		return err
	}
	return work(ctx)
}

// SuperviseInto is Supervise with the supervisor's standard output going to w.
func SuperviseInto(ctx context.Context, w io.Writer, work func(context.Context) error) error {
	if !Inside() {
		return enter(ctx, w)
	}
	return Supervise(ctx, work)
}
