package lab

import (
	"context"
	"io"
)

// Demonstrate runs the demonstration and tells it, step by step, on out. It
// must be called in the supervisor.
func Demonstrate(ctx context.Context, d Demonstration, out io.Writer) (Document, error) {
	linux, err := ParseProfile("linux")
	if err != nil {
		return Document{}, err
	}
	return Run(ctx, Config{A: linux, B: linux, Delay: d.Delay, SkewA: d.SkewA, SkewB: d.SkewB, Retries: -1}, nil)
}
