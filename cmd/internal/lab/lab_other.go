//go:build !linux

package lab

import (
	"context"
	"errors"
	"io"
)

var errPlatform = &Unavailable{
	Missing: "the lab needs Linux, since its networks are network namespaces",
	Mend:    "run it on Linux, in a virtual machine for instance",
	Err:     errors.ErrUnsupported,
}

func enter(context.Context, io.Writer) error { return errPlatform }
func prepare() error                         { return errPlatform }

// Run needs Linux.
func Run(context.Context, Config, func(Trial)) (Document, error) { return Document{}, errPlatform }

// Demonstrate needs Linux.
func Demonstrate(context.Context, Demonstration, io.Writer) (Document, error) {
	return Document{}, errPlatform
}

// Shell needs Linux.
func Shell(context.Context, Config, string, io.Writer) error { return errPlatform }

// Up needs Linux.
func Up(context.Context, Config, io.Writer) error { return errPlatform }

// Watch needs Linux.
func Watch(context.Context, Config, bool, io.Writer) error { return errPlatform }

// WatchRunning needs Linux.
func WatchRunning(context.Context, int, bool) error { return errPlatform }

// Join needs Linux.
func Join(context.Context, int, string) error { return errPlatform }

// Examine needs Linux.
func Examine() []Check { return Missing(errPlatform) }

// RunMatrix needs Linux.
func RunMatrix(context.Context, MatrixConfig, func(MatrixCell, int)) (Matrix, error) {
	return Matrix{}, errPlatform
}

// RunStrategies needs Linux.
func RunStrategies(context.Context, StrategyConfig, func(StrategyCell)) (Strategies, error) {
	return Strategies{}, errPlatform
}
