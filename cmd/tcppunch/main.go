// Command tcppunch opens TCP connections by simultaneous open, measures the
// opening and explains it.
//
// Each command lives in the file of its name. What all commands share is in
// app.go (usage errors, environment variables), status.go (exit statuses) and
// output.go (what goes to stdout and what to stderr).
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// patience is how long an interrupted command may take to end in good order.
// After that, another Ctrl-C ends the process at once.
const patience = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { time.AfterFunc(patience, stop) })
	os.Exit(run(ctx, os.Args, streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}
