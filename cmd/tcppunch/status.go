package main

import (
	"context"
	"errors"
)

// Exit statuses, as documented in docs/cli.md.
const (
	statusDone        = 0   // done; for meet: connected
	statusNo          = 1   // it ran, and the answer is no
	statusFailed      = 2   // it could not be carried out
	statusPeerAbsent  = 3   // the peer never came, came too late, or left
	statusAuthFailed  = 4   // the peer or the coordinator is not who it should be
	statusUnreachable = 5   // the coordinator cannot be reached, or was lost before the schedule
	statusClockPoor   = 6   // the clocks are not known well enough
	statusRefused     = 7   // refused by policy or for lack of consent
	statusUsage       = 64  // the command line is wrong
	statusUnavailable = 77  // a privilege or the platform is missing
	statusInterrupted = 130 // Ctrl-C
)

// failure is an error with the exit status and the error object that the
// command's user sees.
type failure struct {
	Status  int    `json:"-"`
	Kind    string `json:"kind"`    // a stable word, such as "usage" or "peer-absent"
	Message string `json:"message"` // one sentence: what is wrong
	Hint    string `json:"hint"`    // how to mend it; may be empty
}

func (f *failure) Error() string { return f.Message }

func usageError(message, hint string) *failure {
	return &failure{Status: statusUsage, Kind: "usage", Message: message, Hint: hint}
}

// classifiers turn the errors of the packages below into failures. A command's
// file adds the kinds that it knows.
var classifiers []func(error) *failure

// classify gives every error an exit status.
func classify(ctx context.Context, err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, ctx.Err())) {
		return &failure{Status: statusInterrupted, Kind: "interrupted", Message: "interrupted"}
	}
	for _, known := range classifiers {
		if f := known(err); f != nil {
			return f
		}
	}
	return &failure{Status: statusFailed, Kind: "failed", Message: err.Error()}
}

// exitStatus is an error that changes the exit status without saying anything
// more: the result that was printed already says it.
type exitStatus int

func (exitStatus) Error() string { return "the answer is no" }
